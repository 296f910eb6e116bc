"""Whole answers of /messages, read by the SDK's own types."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from h2o_relay.chunks import Completion
from h2o_relay.errors import UpstreamBadResponse

from .messages_kit import answered, call, read, told


def test_a_text() -> None:
    message = told(answered({"content": "Hello."}))
    assert (message.type, message.role, message.model) == ("message", "assistant", "m")
    assert message.id.startswith("msg_")
    assert [block.to_dict() for block in message.content] == [{"type": "text", "text": "Hello."}]
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.usage.to_dict() == {
        "input_tokens": 7, "output_tokens": 5,
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
    }  # fmt: skip


def test_ids_are_not_the_same_twice() -> None:
    assert told(answered({"content": ""})).id != told(answered({"content": ""})).id


def test_the_servers_name_stands_where_the_caller_has_none() -> None:
    assert told(answered({"content": "a"}), model=None).model == "served"
    assert told(answered({"content": "a"}), model=0).model == "served"
    assert told(answered({"content": "a"}), model="alias").model == "alias"


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thoughts_come_first(field: str) -> None:
    message = told(answered({field: "Hm.", "content": "Yes."}))
    assert [block.to_dict() for block in message.content] == [
        {"type": "thinking", "thinking": "Hm.", "signature": ""},
        {"type": "text", "text": "Yes."},
    ]


def test_content_in_parts() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
        {"type": "text", "text": "Y"},
        {"type": "text", "text": "es."},
    ]
    kinds = [(b.type, b.to_dict().get(b.type)) for b in told(answered({"content": parts})).content]
    assert kinds == [("thinking", "Hm."), ("text", "Yes.")]


def test_calls() -> None:
    calls = [call('{"city":"Rome","n":[1.5]}'), call("", id="call_2", name="now")]
    message = told(answered({"content": "I look.", "tool_calls": calls}, "tool_calls"))
    assert [block.to_dict() for block in message.content] == [
        {"type": "text", "text": "I look."},
        {
            "type": "tool_use", "id": "call_1", "name": "look",
            "input": {"city": "Rome", "n": [1.5]},
        },
        {"type": "tool_use", "id": "call_2", "name": "now", "input": {}},
    ]  # fmt: skip
    assert message.stop_reason == "tool_use"


@pytest.mark.parametrize("arguments", ['{"city": "Ro', "[1]", '"x"', "null", "NaN"])
def test_arguments_that_are_no_object_are_not_lost(arguments: str) -> None:
    message = told(answered({"tool_calls": [call(arguments)]}, "length"))
    assert message.content[0].to_dict()["input"] == {"INVALID_JSON": arguments}
    assert message.stop_reason == "max_tokens"


def test_arguments_that_a_server_has_decoded() -> None:
    one: dict[str, Any] = call("")
    one["function"]["arguments"] = {"city": "Rome"}
    del one["id"]
    block = told(answered({"tool_calls": [one]}, "tool_calls")).content[0].to_dict()
    assert block["input"] == {"city": "Rome"}
    assert str(block["id"]).startswith("toolu_")


@pytest.mark.parametrize(
    ("finish", "more", "expected"),
    [
        ("stop", {}, ("end_turn", None)),
        (None, {}, ("end_turn", None)),
        ("eos_token", {}, ("end_turn", None)),
        ("length", {}, ("max_tokens", None)),
        ("content_filter", {}, ("refusal", None)),
        ("model_length", {}, ("model_context_window_exceeded", None)),
        ("stop", {"stop_reason": "END"}, ("stop_sequence", "END")),
        ("stop", {"matched_stop": "END"}, ("stop_sequence", "END")),
        ("stop", {"stop_reason": 128001}, ("end_turn", None)),
        ("stop", {"stop_reason": "<|im_end|>"}, ("end_turn", None)),
        ("stop_sequence", {}, ("stop_sequence", None)),
        ("length", {"stop_reason": "END"}, ("max_tokens", None)),
    ],
)
def test_why_it_stopped(
    finish: str | None, more: dict[str, Any], expected: tuple[str, str | None]
) -> None:
    message = told(answered({"content": "a"}, finish, **more), stop_sequences=["END", "STOP"])
    assert (message.stop_reason, message.stop_sequence) == expected


def test_the_only_stop_sequence_is_the_one() -> None:
    message = told(answered({"content": "a"}, "stop_sequence"), stop_sequences=["END"])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")


def test_calls_are_why_it_stopped_whatever_the_server_says() -> None:
    message = told(answered({"tool_calls": [call("{}")]}, "stop"))
    assert message.stop_reason == "tool_use"


def test_a_refusal_is_told() -> None:
    message = told(answered({"refusal": "I cannot."}))
    assert message.content[0].to_dict() == {"type": "text", "text": "I cannot."}
    assert message.stop_reason == "refusal"


def test_usage_in_detail() -> None:
    answer = answered({"content": "a"})
    answer.data["usage"] = {
        "prompt_tokens": 10, "completion_tokens": 8, "total_tokens": 18, "estimated": True,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }  # fmt: skip
    usage = told(answer).usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (6, 4, 8)
    assert usage.output_tokens_details is not None
    assert usage.output_tokens_details.thinking_tokens == 3
    assert usage.to_dict()["estimated"] is True


@pytest.mark.parametrize("choices", [[], [{"index": 0, "text": "a"}]])
def test_what_is_no_answer(choices: list[Any]) -> None:
    with pytest.raises(UpstreamBadResponse):
        read().whole(Completion(orjson.dumps({"choices": choices})))


def test_a_call_of_no_function_is_not_passed_over() -> None:
    with pytest.raises(UpstreamBadResponse):
        read().whole(answered({"tool_calls": ["look"]}))
