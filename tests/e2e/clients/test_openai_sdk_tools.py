"""Tools by the official OpenAI client: the embedded model, also behind a second relay, is held to
the call that is demanded; llama.cpp's own server is left to its model.
"""

from __future__ import annotations

import json
from typing import Any

import openai
import pydantic
import pytest

from .kit import CALLS_TOOLS, EMBEDDED, FRANCE, GREEDY, OPENAI, TEXT, TOOLS, Place, at, is_weather

pytestmark = pytest.mark.e2e
NAMED = {"type": "function", "function": {"name": "weather"}}
CLOCK: Any = {
    "type": "function",
    "function": {
        "name": "clock",
        "parameters": {
            "type": "object", "properties": {"zone": {"enum": ["utc", "cet"]}},
            "required": ["zone"], "additionalProperties": False,
        },
    },
}  # fmt: skip


def ask(client: openai.OpenAI, place: Place, **more: Any) -> Any:
    request = {"messages": FRANCE, "max_tokens": 60, "tools": TOOLS, **GREEDY, **more}
    return client.chat.completions.create(model=place.model, **request)


@at(*CALLS_TOOLS)
def test_a_named_function_is_called(client: openai.OpenAI, place: Place) -> None:
    (choice,) = ask(client, place, tool_choice=NAMED).choices
    (call,) = choice.message.tool_calls
    assert choice.message.role == "assistant"
    assert choice.message.content is None
    assert choice.finish_reason == "stop"  # as OpenAI has it where the function was named
    assert (call.type, call.function.name) == ("function", "weather")
    assert call.id.startswith("call_")
    assert is_weather(call.function.arguments)


@at(EMBEDDED)
def test_some_function_is_called(client: openai.OpenAI, place: Place) -> None:
    (choice,) = ask(client, place, tools=[*TOOLS, CLOCK], tool_choice="required").choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert call.function.name in ("weather", "clock")
    assert json.loads(call.function.arguments)


@at(*CALLS_TOOLS)
@pytest.mark.parametrize("choice", [NAMED, "required"], ids=["named", "required"])
def test_arguments_come_in_pieces(client: openai.OpenAI, place: Place, choice: Any) -> None:
    """As the API reference has it: name and id once, in the first piece, arguments after it."""
    chunks = list(ask(client, place, tool_choice=choice, stream=True))
    pieces = [
        piece for chunk in chunks for c in chunk.choices for piece in c.delta.tool_calls or []
    ]
    first, *others = pieces
    assert {piece.index for piece in pieces} == {0}
    assert first.id.startswith("call_")
    assert (first.type, first.function.name) == ("function", "weather")
    assert others
    assert all(piece.id is None and piece.function.name is None for piece in others)
    assert is_weather("".join(piece.function.arguments or "" for piece in pieces))
    ends = [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason]
    assert ends == ["tool_calls" if choice == "required" else "stop"]


@at(EMBEDDED)
def test_stream_helper(client: openai.OpenAI, place: Place) -> None:
    """It parses the arguments of a strict tool while they grow."""

    class Weather(pydantic.BaseModel):
        city: str

    tool = openai.pydantic_function_tool(Weather, name="weather")
    with client.chat.completions.stream(
        model=place.model, messages=FRANCE, tools=[tool], tool_choice="required", max_tokens=60,
        **GREEDY,
    ) as stream:  # fmt: skip
        events = list(stream)
    deltas = [e for e in events if e.type == "tool_calls.function.arguments.delta"]
    (done,) = (e for e in events if e.type == "tool_calls.function.arguments.done")
    assert len(deltas) > 2
    assert "".join(e.arguments_delta for e in deltas) == done.arguments
    assert isinstance(done.parsed_arguments, Weather)


@at(EMBEDDED)
def test_parse(client: openai.OpenAI, place: Place) -> None:
    answer = client.chat.completions.parse(
        model=place.model, messages=FRANCE, tools=TOOLS, tool_choice=NAMED, max_tokens=60, **GREEDY
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert is_weather(call.function.parsed_arguments)


@at(EMBEDDED, OPENAI, TEXT)
def test_results_of_two_calls_are_read(client: openai.OpenAI, place: Place) -> None:
    """They are longer in tokens than the question was: the model was given them."""
    calls = [
        {
            "id": f"call_{city}", "type": "function",
            "function": {"name": "weather", "arguments": json.dumps({"city": city})},
        }
        for city in ("Paris", "Lyon")
    ]  # fmt: skip
    said: Any = {"role": "assistant", "content": None, "tool_calls": calls}
    results: Any = [
        {"role": "tool", "tool_call_id": call["id"], "content": "12 degrees"} for call in calls
    ]
    asked = {"max_tokens": 3}
    plain = ask(client, place, **asked)
    answer = ask(client, place, messages=[*FRANCE, said, *results], **asked)
    assert answer.choices[0].message.content
    assert answer.usage.prompt_tokens > plain.usage.prompt_tokens + 20


@at(EMBEDDED, OPENAI, TEXT)
def test_no_function_is_called_where_none_may_be(client: openai.OpenAI, place: Place) -> None:
    (choice,) = ask(client, place, tool_choice="none", max_tokens=8).choices
    assert choice.message.content
    assert not choice.message.tool_calls


@at(EMBEDDED)
def test_logprobs_where_functions_may_be_called(client: openai.OpenAI, place: Place) -> None:
    """llama.cpp refuses to stream them."""
    asked = {"logprobs": True, "top_logprobs": 2, "max_tokens": 4}
    whole = ask(client, place, **asked)
    (choice,) = whole.choices
    told = choice.logprobs.content
    assert "".join(one.token for one in told) == choice.message.content
    chunks = list(ask(client, place, **asked, stream=True, stream_options={"include_usage": True}))
    choices = [c for chunk in chunks for c in chunk.choices]
    assert "".join(c.delta.content or "" for c in choices) == choice.message.content
    streamed = [one.token for c in choices if c.logprobs for one in c.logprobs.content or ()]
    assert streamed == [one.token for one in told]
    assert [c.finish_reason for c in choices if c.finish_reason] == ["length"]
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 4


@at(*CALLS_TOOLS)
def test_a_function_that_is_not_there(client: openai.OpenAI, place: Place) -> None:
    other = {"type": "function", "function": {"name": "other"}}
    with pytest.raises(openai.BadRequestError, match="'other'") as caught:
        ask(client, place, tool_choice=other)
    assert caught.value.param == "tool_choice"
