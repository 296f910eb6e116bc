"""Requests of /messages in a chat's terms: what becomes of each field."""

from __future__ import annotations

from typing import Any

import pytest

from .messages_blocks import (
    CALL,
    CALLED,
    CITED,
    LOOK,
    LOOK_FUNCTION,
    PICTURE,
    PICTURE_PART,
    SCHEMA,
    SEARCH,
    assistant,
    document,
    text,
    user,
)
from .messages_kit import USER, read


def chat(*messages: Any, **fields: Any) -> list[dict[str, Any]]:
    """The chat's messages for these; nothing of them is dropped."""
    found = read(messages=list(messages), **fields)
    assert found.dropped == ()
    sent: list[dict[str, Any]] = found.params["messages"]
    return sent


def test_the_least() -> None:
    found = read()
    assert found.params == {"model": "m", "max_tokens": 100, "messages": USER}
    assert (found.dropped, found.names) == ((), {})


def test_a_stream_ends_with_its_usage() -> None:
    found = read(stream=True)
    assert found.params["stream"] is True
    assert found.params["stream_options"] == {"include_usage": True}
    assert found.names["stream_options"] == ""


@pytest.mark.parametrize(
    ("given_field", "expected"),
    [
        ({"temperature": 0.5}, {"temperature": 0.5}),
        ({"top_p": 1}, {"top_p": 1}),
        ({"top_k": 40}, {"top_k": 40}),
        ({"stop_sequences": ["END"]}, {"stop": ["END"]}),
        ({"stop_sequences": []}, {}),
        ({"metadata": {"user_id": "u-1"}}, {"user": "u-1"}),
        ({"metadata": {}}, {}),
        ({"service_tier": "auto"}, {"service_tier": "auto"}),
        ({"service_tier": "standard_only"}, {"service_tier": "default"}),
        ({"thinking": {"type": "adaptive"}}, {}),
        ({"output_config": {"effort": "low"}}, {"reasoning_effort": "low"}),
        ({"seed": 7, "repetition_penalty": 1.1}, {"seed": 7, "repetition_penalty": 1.1}),
        ({"nobody_knows": {"a": [1]}}, {"nobody_knows": {"a": [1]}}),
        ({"tools": []}, {}),
        ({"tools": [LOOK]}, {"tools": [LOOK_FUNCTION]}),
        ({"tool_choice": {"type": "auto"}}, {}),
    ],
)
def test_fields(given_field: dict[str, Any], expected: dict[str, Any]) -> None:
    found = read(**given_field)
    assert found.dropped == ()
    rest = {k: v for k, v in found.params.items() if k not in ("model", "max_tokens", "messages")}
    assert rest == expected


@pytest.mark.parametrize("field", ["output_config", "output_format"])
def test_structured_outputs(field: str) -> None:
    wanted = {"type": "json_schema", "schema": SCHEMA}
    found = read(**{field: {"format": wanted} if field == "output_config" else wanted})
    assert found.params["response_format"] == {
        "type": "json_schema", "json_schema": {"name": "output", "schema": SCHEMA, "strict": True},
    }  # fmt: skip
    path = "output_config.format" if field == "output_config" else "output_format"
    assert found.names["response_format"] == path


def test_names_of_fields() -> None:
    found = read(
        stop_sequences=["a"], metadata={"user_id": "u"}, output_config={"effort": "max"},
        tools=[LOOK], tool_choice={"type": "auto", "disable_parallel_tool_use": True},
    )  # fmt: skip
    assert found.names == {
        "stop": "stop_sequences", "user": "metadata.user_id",
        "reasoning_effort": "output_config.effort",
        "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    }  # fmt: skip


def test_the_system_prompt() -> None:
    assert chat(*USER, system="Be brief.")[0] == {"role": "system", "content": "Be brief."}
    blocks = [text("Be brief."), text("Be kind.")]
    assert chat(*USER, system=blocks)[0]["content"] == "Be brief.\nBe kind."
    assert chat(*USER, system="") == USER
    later = {"role": "system", "content": "Now be long."}
    assert chat(*USER, later) == [*USER, later]


def test_what_users_say() -> None:
    assert chat(user(text("hi"))) == USER
    assert chat(user(text("hi"), PICTURE)) == [user(text("hi"), PICTURE_PART)]
    url = {"type": "image", "source": {"type": "url", "url": "https://a.test/b.png"}}
    part = {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}}
    assert chat(user(url)) == [user(part)]


def test_turns_of_one_side_are_one() -> None:
    turns = [*USER, user(text("there")), assistant(text("He")), assistant(text("llo")), user(CITED)]
    assert chat(*turns) == [
        user(text("hi"), text("there")),
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "A\nhttps://a.test\nIt is so."},
    ]


def test_documents() -> None:
    plain = {"type": "text", "media_type": "text/plain", "data": "Once."}
    assert chat(user(document(plain))) == [{"role": "user", "content": "Once."}]
    named = document(plain, title="Tale", context="Old.", citations={"enabled": False})
    assert chat(user(named))[0]["content"] == "Tale\nOld.\nOnce."
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    file = {"filename": "Tale", "file_data": "data:application/pdf;base64,JVBERi0="}
    parts = [text("Tale"), {"type": "file", "file": file}]
    assert chat(user(document(pdf, title="Tale"))) == [user(*parts)]
    inside = {"type": "content", "content": [text("See:"), PICTURE]}
    assert chat(user(document(inside))) == [user(text("See:"), PICTURE_PART)]


def test_calls_and_their_results() -> None:
    failed = {"type": "tool_result", "tool_use_id": "t2", "content": "no net", "is_error": True}
    several = {"type": "tool_result", "tool_use_id": "t1", "content": [text("a"), text("b")]}
    found = chat(
        *USER,
        assistant({"type": "thinking", "thinking": "Hm.", "signature": ""}, text("I look."), CALL),
        user(text("And?"), several, failed),
    )
    assert found[1:] == [
        {
            "role": "assistant", "content": "I look.", "reasoning_content": "Hm.",
            "tool_calls": [CALLED],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "a\nb"},
        {"role": "tool", "tool_call_id": "t2", "content": "Error: no net"},
        {"role": "user", "content": "And?"},
    ]  # fmt: skip


def test_a_call_alone_has_no_content() -> None:
    found = chat(*USER, assistant(CALL), user({"type": "tool_result", "tool_use_id": "t1"}))
    assert found[1:] == [
        {"role": "assistant", "content": None, "tool_calls": [CALLED]},
        {"role": "tool", "tool_call_id": "t1", "content": ""},
    ]


def test_pictures_of_a_result_are_shown_by_the_user() -> None:
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [text("Seen."), PICTURE]}
    found = chat(*USER, assistant(CALL), user(result, text("Nice?")))
    assert found[2:] == [
        {"role": "tool", "tool_call_id": "t1", "content": "Seen."},
        user(text("The result of the tool call t1:"), PICTURE_PART, text("Nice?")),
    ]


def test_an_answer_that_was_begun_goes_on() -> None:
    found = read(messages=[*USER, assistant(text("The answer is ("))])
    assert found.params["continue_final_message"] is True
    assert found.params["add_generation_prompt"] is False
    assert found.names["continue_final_message"] == "messages.prefill"
    assert "continue_final_message" not in read(messages=[*USER, assistant(CALL)]).params
    own = read(messages=[*USER, assistant(text("("))], continue_final_message=False)
    assert own.params["continue_final_message"] is False


def test_tools() -> None:
    tool = {**LOOK, "type": "custom", "description": "Looks.", "strict": True}
    function = {**LOOK_FUNCTION["function"], "description": "Looks.", "strict": True}
    assert read(tools=[tool]).params["tools"] == [{"type": "function", "function": function}]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        (
            {"type": "tool", "name": "look"},
            {"tool_choice": {"type": "function", "function": {"name": "look"}}},
        ),
        (
            {"type": "any", "disable_parallel_tool_use": True},
            {"tool_choice": "required", "parallel_tool_calls": False},
        ),
        (
            {"type": "auto", "disable_parallel_tool_use": False},
            {"tool_choice": "auto", "parallel_tool_calls": True},
        ),
    ],
)
def test_choices(choice: dict[str, Any], expected: dict[str, Any]) -> None:
    found = read(tools=[LOOK], tool_choice=choice)
    chosen = {k: v for k, v in found.params.items() if k in ("tool_choice", "parallel_tool_calls")}
    assert (chosen, found.dropped) == (expected, ())


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, ["thinking"]),
        ({"thinking": {"type": "disabled"}}, ["thinking"]),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, ["thinking.display"]),
        ({"container": "c"}, ["container"]),
        ({"mcp_servers": [{"type": "url", "name": "a"}]}, ["mcp_servers"]),
        ({"mcp_servers": []}, []),
        ({"context_management": {"edits": []}}, ["context_management"]),
        ({"cache_control": {"type": "ephemeral"}}, ["cache_control"]),
        ({"betas": ["a"]}, ["betas"]),
        ({"metadata": {"user_id": "u" * 65, "more": 1}}, ["metadata.more", "metadata.user_id"]),
        ({"n": 2, "logprobs": True, "top_logprobs": 2}, ["n", "logprobs", "top_logprobs"]),
        ({"stream_options": {"include_usage": False}}, ["stream_options"]),
        ({"max_completion_tokens": 5}, ["max_completion_tokens"]),
        ({"stop_sequences": ["a"], "stop": "b"}, ["stop"]),
        ({"tools": [SEARCH, LOOK]}, ["tools.web_search"]),
        ({"tools": [{"type": "mcp_toolset"}, {"type": "mcp_toolset"}]}, ["tools.mcp_toolset"]),
        ({"tools": [{**LOOK, "defer_loading": True}]}, ["tools.defer_loading"]),
        ({"tools": [{**LOOK, "allowed_callers": ["direct"]}]}, []),
        ({"tools": [{**LOOK, "eager_input_streaming": True}]}, []),
        ({"output_config": {"task_budget": {"total": 9}}}, ["output_config.task_budget"]),
    ],
)
def test_what_is_dropped_is_reported(fields: dict[str, Any], dropped: list[str]) -> None:
    found = read(**fields)
    assert list(found.dropped) == dropped
    assert not {"container", "mcp_servers", "n", "betas"} & set(found.params)


def test_hints_for_a_cache_are_reported_once() -> None:
    hint = {"cache_control": {"type": "ephemeral"}}
    found = read(
        system=[text("a", **hint)],
        messages=[user(text("b", **hint), {**PICTURE, **hint})],
        tools=[{**LOOK, **hint}],
        **hint,
    )
    assert found.dropped == ("cache_control",)


def test_what_only_anthropic_can_read_of_a_conversation() -> None:
    found = read(
        messages=[
            *USER,
            assistant(
                {"type": "redacted_thinking", "data": "x"},
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                text("Yes.", citations=[{"type": "char_location"}]),
            ),
            *USER,
        ]
    )
    assert found.params["messages"][1] == {
        "role": "assistant", "content": "Yes.", "reasoning_content": "Hm.",
    }  # fmt: skip
    assert found.dropped == tuple(
        f"messages.content.{name}"
        for name in (
            "redacted_thinking", "server_tool_use", "web_search_tool_result", "signature",
            "citations",
        )
    )  # fmt: skip


def test_a_request_cannot_make_the_report_endless() -> None:
    found = read(messages=[user(text("a", **{f"field{n}": 1 for n in range(5000)}))])
    assert len(found.dropped) == 65
    assert found.dropped[-1] == "and more"
