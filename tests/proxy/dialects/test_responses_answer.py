"""Whole answers of /responses, read by the SDK's own types."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from h2o_relay.chunks import Completion
from h2o_relay.errors import UpstreamBadResponse
from h2o_relay_proxy.dialects.responses import DIALECT

from .responses_kit import TOOL, anonymous, answered, call, plain, read, told

TOKEN = {"token": "Hé", "logprob": -0.5, "bytes": None}
LOGPROBS = {"content": [{**TOKEN, "top_logprobs": [TOKEN]}], "refusal": None}
WANTED = {"token": "Hé", "logprob": -0.5, "bytes": [72, 195, 169]}


def text_part(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text, **more}


def test_a_text() -> None:
    response = told(answered({"content": "Hello."}))
    assert (response.object, response.status, response.model) == ("response", "completed", "served")
    assert response.id.startswith("resp_")
    assert response.output[0].id.startswith("msg_")
    assert response.output_text == "Hello."
    assert anonymous(response.output) == [
        {"type": "message", "role": "assistant", "status": "completed",
         "content": [text_part("Hello.")]}
    ]  # fmt: skip
    assert response.completed_at >= response.created_at > 0
    assert (response.error, response.incomplete_details) == (None, None)
    assert plain(response.usage) == {
        "input_tokens": 7, "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 12,
    }  # fmt: skip


def test_what_was_asked_is_repeated() -> None:
    asked = {
        "instructions": "Be brief.", "max_output_tokens": 9, "max_tool_calls": 2,
        "metadata": {"a": "b"}, "parallel_tool_calls": False, "prompt_cache_key": "k",
        "reasoning": {"effort": "low", "summary": "auto"}, "safety_identifier": "s",
        "temperature": 0.5, "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "tool_choice": {"type": "function", "name": "look"}, "top_p": 0.9, "truncation": "auto",
        "user": "u",
    }  # fmt: skip
    response = plain(told(answered({"content": "a"}), tools=[TOOL], **asked))
    assert {name: response[name] for name in asked} == asked
    assert response["tools"] == [{**TOOL, "description": None}]
    assert response["store"] is False  # nothing is kept by this one


def test_what_was_not_asked_has_the_value_of_the_reference() -> None:
    response = plain(told(answered({"content": "a"})))
    wanted = {
        "background": False, "instructions": None, "metadata": {}, "parallel_tool_calls": True,
        "previous_response_id": None, "reasoning": {"effort": None, "summary": None},
        "temperature": None, "text": {"format": {"type": "text"}}, "tool_choice": "auto",
        "tools": [], "top_logprobs": 0, "truncation": "disabled",
    }  # fmt: skip
    assert {name: response[name] for name in wanted} == wanted


def test_ids_are_not_the_same_twice() -> None:
    one, two = (told(answered({"content": "a"})) for _ in range(2))
    assert one.id != two.id
    assert one.output[0].id != two.output[0].id


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_comes_first(field: str) -> None:
    response = told(answered({field: "Hm.", "content": "Yes."}))
    thought, said = anonymous(response.output)
    assert thought == {
        "type": "reasoning", "status": "completed", "summary": [],
        "content": [{"type": "reasoning_text", "text": "Hm."}],
    }  # fmt: skip
    assert said["content"] == [text_part("Yes.")]


@pytest.mark.parametrize("kind", ["auto", "detailed"])
def test_reasoning_is_its_own_summary_where_one_is_asked_for(kind: str) -> None:
    response = told(answered({"reasoning": "Hm."}), reasoning={"summary": kind})
    assert anonymous(response.output) == [
        {"type": "reasoning", "status": "completed",
         "summary": [{"type": "summary_text", "text": "Hm."}]}
    ]  # fmt: skip


def test_content_in_parts() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    parts = [thinking, {"type": "text", "text": "Yes."}]
    assert [item.type for item in told(answered({"content": parts})).output] == [
        "reasoning", "message",
    ]  # fmt: skip


def test_a_refusal() -> None:
    response = told(answered({"content": "Well.", "refusal": "No."}))
    assert anonymous(response.output)[0]["content"] == [
        text_part("Well."),
        {"type": "refusal", "refusal": "No."},
    ]


def test_calls() -> None:
    message = {"content": "I look.", "tool_calls": [call('{"x":1}', "a"), call("{}", "b", "see")]}
    response = told(answered(message, "tool_calls"), tools=[TOOL])
    wanted = {"type": "function_call", "status": "completed"}
    assert anonymous(response.output)[1:] == [
        {**wanted, "call_id": "a", "name": "look", "arguments": '{"x":1}'},
        {**wanted, "call_id": "b", "name": "see", "arguments": "{}"},
    ]
    assert response.status == "completed"


def test_every_call_has_an_id_of_its_own() -> None:
    calls = [call("{}", "same"), call("{}", "same"), call("{}", None), call("{}", "")]
    response = told(answered({"tool_calls": calls}, "tool_calls"))
    ids = [item.call_id for item in response.output]
    assert ids[0] == "same"
    assert len({*ids}) == 4
    assert all(ids)


def test_arguments_that_the_server_did_not_encode() -> None:
    odd = {"id": "a", "type": "function", "function": {"name": "look", "arguments": {"x": 1}}}
    assert told(answered({"tool_calls": [odd]})).output[0].arguments == '{"x":1}'


def test_an_empty_answer_is_an_empty_message() -> None:
    response = told(answered({"content": ""}))
    assert anonymous(response.output)[0]["content"] == [text_part("")]
    assert response.output_text == ""


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_an_answer_that_is_cut(finish: str, reason: str) -> None:
    message = {"reasoning": "Hm.", "content": "Ye"}
    response = told(answered(message, finish))
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == reason
    assert response.completed_at is None
    assert [item.status for item in response.output] == ["completed", "incomplete"]


def test_a_call_that_is_cut() -> None:
    calls = [call("{}", "a"), call('{"x', "b")]
    response = told(answered({"tool_calls": calls}, "length"))
    assert [item.status for item in response.output] == ["completed", "incomplete"]


def test_logprobs() -> None:
    completion = answered({"content": "Hé"}, logprobs=LOGPROBS)
    asked = told(completion, include=["message.output_text.logprobs"], top_logprobs=1)
    assert anonymous(asked.output)[0]["content"][0]["logprobs"] == [
        {**WANTED, "top_logprobs": [WANTED]}
    ]
    assert anonymous(told(completion).output)[0]["content"][0]["logprobs"] == []


def test_citations() -> None:
    cited = {"start_index": 0, "end_index": 1, "title": "t", "url": "https://a"}
    note = {"type": "url_citation", "url_citation": cited}
    response = told(answered({"content": "a", "annotations": [note]}))
    assert anonymous(response.output)[0]["content"] == [
        text_part("a", annotations=[{"type": "url_citation", **cited}])
    ]


def test_usage_that_is_estimated_says_so() -> None:
    data = answered({"content": "a"}).data
    data["usage"] = {"prompt_tokens": 1, "completion_tokens": 2, "estimated": True}
    usage = plain(told(Completion(b"", data)).usage)
    assert (usage["total_tokens"], usage["estimated"]) == (3, True)


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None}, {"prompt_tokens": 1}, "x"])
def test_usage_that_is_not_known_is_null(usage: Any) -> None:
    data = {**answered({"content": "a"}).data, "usage": usage}
    assert told(Completion(b"", data)).usage is None


def test_the_tier_is_the_servers() -> None:
    data = {**answered({"content": "a"}).data, "service_tier": "default"}
    assert told(Completion(b"", data), service_tier="auto").service_tier == "default"


def test_the_callers_name_stands_where_the_server_has_none() -> None:
    data = {k: v for k, v in answered({"content": "a"}).data.items() if k != "model"}
    assert told(Completion(b"", data)).model == "m"


@pytest.mark.parametrize(
    "data", [{}, {"choices": []}, {"choices": "x"}, {"choices": [{}]}, {"choices": [5]}, [], 5]
)
def test_what_is_no_answer(data: Any) -> None:
    with pytest.raises(UpstreamBadResponse):
        read().whole(Completion(orjson.dumps(data)))


@pytest.mark.parametrize(
    "message",
    [
        {"content": {"a": 1}}, {"content": [5, {"thinking": 3}]}, {"reasoning": ["a"]},
        {"refusal": 5}, {"tool_calls": {"a": 1}}, {"tool_calls": [5, {"function": "look"}]},
        {"annotations": 5}, {"annotations": [5, {"url_citation": 3}]},
    ],
)  # fmt: skip
def test_what_is_of_no_known_shape_does_no_harm(message: dict[str, Any]) -> None:
    response = told(answered(message, logprobs={"content": [5, {"top_logprobs": 3}]}))
    assert response.status == "completed"


def test_an_error_has_openais_shape() -> None:
    error = UpstreamBadResponse("no")
    assert orjson.loads(DIALECT.error(error, "req")) == error.body()
