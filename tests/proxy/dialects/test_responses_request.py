"""Requests of /responses as chat completions: what lands where, and what is told or refused."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from openai.types.responses import response_create_params
from openai.types.responses.response_input_item_param import ResponseInputItemParam

from h2o_relay.errors import NotFound
from h2o_relay_proxy.checks import check
from h2o_relay_proxy.dialects.responses import DIALECT
from h2o_relay_proxy.dialects.responses.fields import FIELDS, NOT_DONE, OWN, REFUSED
from h2o_relay_proxy.dialects.responses.items import HOSTED, READERS

from .responses_kit import TOOL, called, messages, read, result, thought, user

SCHEMA = {"type": "object", "properties": {}}
LANDS: list[tuple[str, Any, dict[str, Any]]] = [
    ("temperature", 0.5, {"temperature": 0.5}),
    ("top_p", 1, {"top_p": 1}),
    ("max_output_tokens", 9, {"max_completion_tokens": 9}),
    ("truncation", "auto", {"truncation": "auto"}),
    ("user", "u", {"user": "u"}),
    ("safety_identifier", "s", {"safety_identifier": "s"}),
    ("prompt_cache_key", "k", {"prompt_cache_key": "k"}),
    ("prompt_cache_retention", "24h", {"prompt_cache_retention": "24h"}),
    ("prompt_cache_options", {"ttl": "30m"}, {"prompt_cache_options": {"ttl": "30m"}}),
    ("service_tier", "flex", {"service_tier": "flex"}),
    ("reasoning", {"effort": "low"}, {"reasoning_effort": "low"}),
    ("text", {"verbosity": "low"}, {"verbosity": "low"}),
    ("text", {"format": {"type": "text"}}, {}),
    ("text", {"format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
    (
        "text",
        {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
            }
        },
    ),
    ("include", ["message.output_text.logprobs"], {"logprobs": True}),
    ("include", ["web_search_call.results"], {}),
    ("stream", True, {"stream": True, "stream_options": {"include_usage": True}}),
    ("stream", None, {}),
    ("store", False, {}),
    ("background", False, {}),
    ("metadata", {"a": "b"}, {}),
    ("max_tool_calls", 2, {}),
    ("parallel_tool_calls", False, {}),  # without tools it says nothing
    ("tool_choice", "none", {}),
    ("n", 1, {}),
    ("seed", 3, {"seed": 3}),
    ("stop", ["a"], {"stop": ["a"]}),
    ("top_k", 5, {"top_k": 5}),
    ("chat_template_kwargs", {"a": 1}, {"chat_template_kwargs": {"a": 1}}),
]
PLAIN = {"model": "m", "messages": [user()], "stream": False}


@pytest.mark.parametrize(("name", "value", "wanted"), LANDS)
def test_where_a_field_lands(name: str, value: Any, wanted: dict[str, Any]) -> None:
    exchanged = DIALECT.read({"model": "m", "input": "hi", name: value})
    assert exchanged.params == PLAIN | wanted
    assert exchanged.dropped == ()
    check("chat", exchanged.params)


DROPPED: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"context_management": [{"type": "compaction"}]}, ("context_management",)),
    ({"moderation": {"model": "m"}}, ("moderation",)),
    ({"image": {}}, ("image",)),
    ({"top_logprobs": 2}, ("top_logprobs",)),
    ({"include": ["reasoning.encrypted_content"]}, ("include.reasoning.encrypted_content",)),
    ({"reasoning": {"summary": "concise"}}, ("reasoning.summary",)),
    ({"reasoning": {"mode": "pro", "new": None}}, ("reasoning.mode",)),
    ({"text": {"new": 1}}, ("text.new",)),
    ({"stream": True, "stream_options": {"include_obfuscation": True}},
     ("stream_options.include_obfuscation",)),
    ({"tools": [{**TOOL, "defer_loading": True}]}, ("tools.defer_loading",)),
    ({"input": [{**user(), "phase": "x"}, {**user(), "phase": "y"}]}, ("input.phase",)),
    ({"input": [user([{"type": "input_text", "text": "a", "prompt_cache_breakpoint": {}}])]},
     ("input.content.prompt_cache_breakpoint",)),
    ({"input": [user(), {**thought("a"), "encrypted_content": "x"}]},
     ("input.encrypted_content",)),
    ({"input": [user(), {**called(), "namespace": "n"}, result()]}, ("input.namespace",)),
    ({"input": [{**user(), "a b,\n": 1}]}, ("input.*",)),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "dropped"), DROPPED)
def test_what_is_not_honoured_is_named(fields: dict[str, Any], dropped: tuple[str, ...]) -> None:
    assert read(**fields).dropped == dropped


NOTHING: list[dict[str, Any]] = [
    {"reasoning": {"summary": "auto"}},
    {"reasoning": {"generate_summary": "detailed", "context": "current_turn"}},
    {"stream": True, "stream_options": {"include_obfuscation": False}},
    {"tools": [{**TOOL, "defer_loading": False, "async": False, "allowed_callers": ["direct"]}]},
    {"tools": [{**TOOL, "output_schema": None}]},
]


@pytest.mark.parametrize("fields", NOTHING)
def test_what_is_done_anyway_is_not_named(fields: dict[str, Any]) -> None:
    assert read(**fields).dropped == ()


def test_a_header_of_what_is_not_honoured_stays_short() -> None:
    items = [{**user(), **{f"field{n}_{m}": 1 for m in range(50)}} for n in range(50)]
    dropped = read(input=items).dropped
    assert dropped[-1] == "input.*"
    assert len(dropped) < 100


@pytest.mark.parametrize("name", sorted(OWN - {"input"}))
def test_a_field_that_is_null_is_not_there(name: str) -> None:
    exchanged = DIALECT.read({"model": "m", "input": "hi", name: None})
    wanted = {k: v for k, v in PLAIN.items() if name != "model" or k != "model"}
    assert (exchanged.params, exchanged.dropped) == (wanted, ())


def test_every_field_of_the_sdk_is_known() -> None:
    known = set(typing.get_type_hints(response_create_params.ResponseCreateParamsNonStreaming))
    assert known - {"conversation", "prompt"} <= {*FIELDS, *NOT_DONE, "prompt_cache_options"}
    assert known >= {*REFUSED, *NOT_DONE}


def test_every_item_of_the_sdk_is_known() -> None:
    kinds = set()
    for one in typing.get_args(ResponseInputItemParam):
        hint = typing.get_type_hints(one, include_extras=False).get("type")
        kinds |= set(literals(hint))
    assert kinds <= {*READERS, *HOSTED}


def literals(hint: Any) -> list[str]:
    found = typing.get_args(hint)
    texts = [one for one in found if isinstance(one, str)]
    return texts + [text for one in found if not isinstance(one, str) for text in literals(one)]


class TestMessages:
    def test_a_text(self) -> None:
        assert read(input="hi").params["messages"] == [user()]

    def test_instructions_come_first_and_developers_are_the_system(self) -> None:
        developer = {"type": "message", "role": "developer", "content": "Be good."}
        assert messages(developer, user(), instructions="Be brief.") == [
            {"role": "system", "content": "Be brief."},
            {"role": "system", "content": "Be good."},
            user(),
        ]

    def test_parts(self) -> None:
        given = [
            {"type": "input_text", "text": "What is this?"},
            {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:x"},
            {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
        ]
        image = {"url": "data:image/png;base64,AA", "detail": "low"}
        assert messages(user(given)) == [
            user(
                [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": image},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:x"}},
                    {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
                ]
            )
        ]

    def test_an_answer_comes_back(self) -> None:
        said = {"type": "output_text", "text": "No.", "annotations": [], "logprobs": []}
        no = {"type": "refusal", "refusal": "I will not."}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
        assert messages(user(), {**message, "content": [said]}, {**message, "content": [no]}) == [
            user(),
            {"role": "assistant", "content": "No."},
            {"role": "assistant", "content": [no]},
        ]

    def test_calls_and_results_make_turns(self) -> None:
        said = {"role": "assistant", "content": "I look."}
        first, second = called("a", arguments='{"x":1}'), called("b")
        image = {"type": "input_image", "image_url": "https://a/b.png"}
        assert messages(
            user(), said, first, second, result("a"), result("b", [image]), called("c"), result("c")
        ) == [
            user(),
            {**said, "tool_calls": [sent("a", '{"x":1}'), sent("b")]},
            {"role": "tool", "tool_call_id": "a", "content": "done"},
            {"role": "tool", "tool_call_id": "b",
             "content": [{"type": "image_url", "image_url": {"url": "https://a/b.png"}}]},
            {"role": "assistant", "content": None, "tool_calls": [sent("c")]},
            {"role": "tool", "tool_call_id": "c", "content": "done"},
        ]  # fmt: skip

    def test_text_after_a_call_stays_in_the_turn(self) -> None:
        said = {"role": "assistant", "content": "One."}
        assert messages(user(), said, called(), said, result())[1] == {
            "role": "assistant",
            "content": [{"type": "text", "text": "One."}] * 2,
            "tool_calls": [sent("c1")],
        }

    def test_reasoning_goes_with_the_call_that_it_led_to(self) -> None:
        found = messages(user(), thought("Hm."), called("a"), result("a"), thought("So."),
                         called("b"), result("b"))  # fmt: skip
        assert [m.get("reasoning_content") for m in found] == [None, "Hm.", None, "So.", None]

    def test_reasoning_before_the_last_question_is_left_out(self) -> None:
        turn = (user(), thought("Hm."), called(), result())
        assert "reasoning_content" not in str(messages(*turn, user()))
        found = messages(*turn, user(), reasoning={"context": "all_turns"})
        assert found[1]["reasoning_content"] == "Hm."

    def test_a_summary_stands_for_reasoning_that_is_hidden(self) -> None:
        hidden = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Short."}]}
        assert messages(user(), hidden, called(), result())[1]["reasoning_content"] == "Short."

    def test_an_item_that_is_not_kept_is_not_found(self) -> None:
        for item in ({"type": "item_reference", "id": "msg_1"}, {"id": "msg_1"}):
            with pytest.raises(NotFound) as caught:
                messages(user(), item)
            assert caught.value.param == "input[1].id"


def sent(call_id: str, arguments: str = "{}") -> dict[str, Any]:
    function = {"name": "look", "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


class TestTools:
    OTHER = {**TOOL, "name": "listen", "description": "d", "strict": True}
    LOOK = {"name": "look", "parameters": {"type": "object"}, "strict": False}
    LISTEN = {**LOOK, "name": "listen", "description": "d", "strict": True}

    def given(self, choice: Any, **fields: Any) -> dict[str, Any]:
        params = read(tools=[TOOL, self.OTHER], tool_choice=choice, **fields).params
        return {k: v for k, v in params.items() if k not in PLAIN}

    def both(self) -> list[dict[str, Any]]:
        return [{"type": "function", "function": one} for one in (self.LOOK, self.LISTEN)]

    @pytest.mark.parametrize("choice", ["auto", "none", "required"])
    def test_a_word(self, choice: str) -> None:
        assert self.given(choice) == {"tools": self.both(), "tool_choice": choice}

    def test_without_a_choice(self) -> None:
        assert self.given(None, parallel_tool_calls=False) == {
            "tools": self.both(), "parallel_tool_calls": False,
        }  # fmt: skip

    def test_one_function(self) -> None:
        choice = {"type": "function", "function": {"name": "look"}}
        assert self.given({"type": "function", "name": "look"})["tool_choice"] == choice

    def test_some_functions(self) -> None:
        listen = [{"type": "function", "name": "listen"}]
        choice = {"type": "allowed_tools", "mode": "required", "tools": listen}
        assert self.given(choice) == {"tools": self.both()[1:], "tool_choice": "required"}
