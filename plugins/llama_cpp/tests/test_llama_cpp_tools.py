"""Demanded tool calls: what the engine is asked, and what becomes of its JSON however it is cut."""

from __future__ import annotations

from typing import Any

import pytest

from h2o_relay.errors import InvalidRequest
from h2o_relay.types import Deployment, Request, Server
from h2o_relay_llama_cpp import tools

REF = {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"enum": [1]}}}
TOOLS = [
    {"type": "function", "function": {"name": "one", "description": "First.", "parameters": REF}},
    {"type": "function", "function": {"name": "two"}},
]
USER = {"role": "user", "content": "hi"}
NAMED = {"type": "function", "function": {"name": "one"}}


def request(**params: Any) -> Request:
    server = Server(plugin="llama_cpp")
    asked = {"model": "m", "messages": [USER], "tools": TOOLS, **params}
    deployment = Deployment(name="m", server=server, model="m")
    return Request(kind="chat", params=asked, body=b"{}", deployment=deployment)


def forced(**params: Any) -> tools.Forced:
    found = tools.forced(request(**params))
    assert found is not None
    return found


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_what_is_not_demanded_is_the_engines(choice: str | None) -> None:
    assert tools.forced(request(tool_choice=choice)) is None
    assert tools.forced(request()) is None


def test_one_function_is_asked_for_its_arguments() -> None:
    params = forced(tool_choice=NAMED, temperature=0, parallel_tool_calls=True).request.params
    assert params.keys() == {"model", "messages", "temperature", "response_format"}
    assert params["response_format"]["json_schema"]["schema"] is REF
    system, user = params["messages"]
    assert system["role"] == "system"
    assert '"description":"First."' in system["content"]
    assert user is USER


def test_of_several_functions_one_is_chosen_by_name() -> None:
    schema = forced(tool_choice="required").request.params["response_format"]["json_schema"]
    one, two = schema["schema"]["anyOf"]
    assert one["properties"]["name"] == {"const": "one"}
    assert two["properties"]["arguments"] == {"type": "object", "properties": {}}
    place = one["properties"]["arguments"]["properties"]["a"]["$ref"]
    assert place == "#/anyOf/0/properties/arguments/$defs/x"
    target: Any = schema["schema"]
    for step in place.removeprefix("#/").split("/"):
        target = target[int(step) if isinstance(target, list) else step]
    assert target == {"enum": [1]}


@pytest.mark.parametrize(
    ("content", "told"),
    [("Be brief.", "Be brief.\n\nCall"), ([{"type": "text", "text": "Be brief."}], None)],
)
def test_a_system_message_is_kept(content: Any, told: str | None) -> None:
    first = {"role": "system", "content": content}
    asked = forced(tool_choice=NAMED, messages=[first, USER]).request.params["messages"]
    assert len(asked) == 2
    if told is None:
        assert [part["type"] for part in asked[0]["content"]] == ["text", "text"]
        assert asked[0]["content"][0] == content[0]
    else:
        assert asked[0]["content"].startswith(told)


def test_a_response_format_gives_way_and_is_reported() -> None:
    asked = request(tool_choice=NAMED, response_format={"type": "json_object"})
    found = tools.forced(asked)
    assert found is not None
    assert found.request.params["response_format"]["type"] == "json_schema"
    assert asked.unread == ("response_format",)


@pytest.mark.parametrize(
    "params",
    [
        {"tool_choice": "required", "tools": []},
        {"tool_choice": {"type": "function", "function": {"name": "three"}}},
        {"tool_choice": {"type": "allowed_tools"}},
        {"tool_choice": "always"},
    ],
)
def test_what_cannot_be_called_is_refused(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        tools.forced(request(**params))
    assert caught.value.param == "tool_choice"


def answered(found: tools.Forced, text: str, size: int, reason: str = "stop") -> dict[str, Any]:
    """The call that comes of a text in pieces of `size` characters."""
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    deltas: list[tuple[dict[str, Any], str | None]] = [
        ({"role": "assistant", "content": None}, None)
    ]
    deltas += [({"content": piece}, None) for piece in pieces]
    call: dict[str, Any] = {"arguments": "", "ids": []}
    for delta, end in [*deltas, ({}, reason)]:
        event = {"choices": [{"index": 0, "delta": delta, "finish_reason": end}]}
        (choice,) = found.event(event)["choices"]
        assert "content" not in choice["delta"]
        for piece in choice["delta"].get("tool_calls", ()):
            assert piece["index"] == 0
            call["arguments"] += piece["function"]["arguments"]
            if "id" in piece:
                call["ids"].append(piece["id"])
                call["name"] = piece["function"]["name"]
        call["reason"] = choice["finish_reason"]
    assert len(call["ids"]) == ("name" in call)
    return call


@pytest.mark.parametrize("size", range(1, 60))
def test_calls_however_they_are_cut(size: int) -> None:
    arguments = '{"a": {"b}": [{}, "} "]}, "c": {"d": {}}\n}'
    call = answered(forced(tool_choice=NAMED), arguments, size)
    assert (call["name"], call["arguments"], call["reason"]) == ("one", arguments, "stop")
    whole = '{\n  "name": "two",\n  "arguments": ' + arguments + "\n}"
    call = answered(forced(tool_choice="required"), whole, size)
    assert (call["name"], call["arguments"], call["reason"]) == ("two", arguments, "tool_calls")


def test_an_answer_that_was_cut_says_so() -> None:
    call = answered(
        forced(tool_choice="required"), '{"name":"two","arguments":{"a":{}', 3, "length"
    )
    assert (call["arguments"], call["reason"]) == ('{"a":{}', "length")
    call = answered(forced(tool_choice="required"), '{"name":"tw', 3, "length")
    assert (call["arguments"], call["reason"]) == ("", "length")


def test_what_is_not_a_delta_is_left_to_the_kernel() -> None:
    for event in ([], {"error": {"message": "x"}}, {"choices": [], "usage": {}}, {"choices": [7]}):
        assert forced(tool_choice=NAMED).event(event) == event
