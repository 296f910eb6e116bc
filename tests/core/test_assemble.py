"""Whole answers from the events of a stream, as servers really send them."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from h2o_relay.assemble import assemble
from h2o_relay.chunks import Chunk, Completion
from h2o_relay.guard import Guard

BASE = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1750000000, "model": "m"}


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {**BASE, "choices": [{"index": index, "delta": fields, "finish_reason": finish}]}


async def whole(*events: dict[str, Any], kind: Any = "chat", together: int = 1) -> Completion:
    """Assembled from chunks of `together` events each; the guard must be content with all."""
    guard = Guard(kind, {}, None)

    async def chunks() -> AsyncIterator[Chunk]:
        for start in range(0, len(events), together):
            raw = b"".join(
                b"data: " + orjson.dumps(event) + b"\n\n" for event in events[start:][:together]
            )
            chunk = Chunk(raw)
            assert guard.check(chunk) is None
            yield chunk

    completion = await assemble(chunks(), kind)
    assert orjson.loads(completion.body) == completion.data
    return completion


@pytest.mark.parametrize("together", [1, 2, 10])
async def test_llama_cpp_chat(together: int) -> None:
    timings = {"prompt_n": 12, "predicted_n": 3}
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    answer = await whole(
        delta(role="assistant", content=None),
        delta(content="Hel"),
        delta(content="lo"),
        delta(finish="stop"),
        {**BASE, "choices": [], "usage": usage, "timings": timings},
        together=together,
    )
    assert answer.data == {
        **BASE,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello"},
                "finish_reason": "stop",
            }
        ],
        "usage": usage,
        "timings": timings,
    }
    assert (answer.text, answer.finish_reason, answer.usage) == ("Hello", "stop", usage)


async def test_tool_calls() -> None:
    def call(index: int, **fields: Any) -> dict[str, Any]:
        return {"index": index, **fields}

    def begin(identity: str, name: str) -> dict[str, Any]:
        return {"id": identity, "type": "function", "function": {"name": name, "arguments": ""}}

    answer = await whole(
        delta(role="assistant", content=None),
        delta(tool_calls=[call(0, **begin("a", "f"))]),
        delta(tool_calls=[call(0, function={"arguments": '{"x"'})]),
        delta(tool_calls=[call(1, **begin("b", "g"))]),
        delta(tool_calls=[call(0, function={"arguments": ":1}"})]),
        delta(tool_calls=[call(1, id="", function={"name": "", "arguments": "{}"})]),
        delta(finish="tool_calls"),
    )
    assert answer.data["choices"][0] == {
        "index": 0,
        "finish_reason": "tool_calls",
        "message": {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
    }


async def test_two_choices_in_turn() -> None:
    answer = await whole(
        delta(1, role="assistant", content="b"),
        delta(0, role="assistant", content="a"),
        delta(1, content="B"),
        delta(0, content="A"),
        delta(0, "stop"),
        delta(1, "length"),
    )
    assert [
        (c["index"], c["message"]["content"], c["finish_reason"]) for c in answer.data["choices"]
    ] == [(0, "aA", "stop"), (1, "bB", "length")]


async def test_logprobs_and_reasoning() -> None:
    def with_logprobs(event: dict[str, Any], *tokens: str) -> dict[str, Any]:
        content = [{"token": token, "logprob": -0.5, "top_logprobs": []} for token in tokens]
        choice = {**event["choices"][0], "logprobs": {"content": content} if tokens else None}
        return {**event, "choices": [choice]}

    answer = await whole(
        with_logprobs(delta(role="assistant")),
        with_logprobs(delta(reasoning_content="I ")),
        with_logprobs(delta(reasoning_content="think")),
        with_logprobs(delta(content="a b"), "a", " b"),
        with_logprobs(delta(content="c", reasoning_content=None), "c"),
        with_logprobs(delta(finish="stop")),
    )
    choice = answer.data["choices"][0]
    assert [item["token"] for item in choice["logprobs"]["content"]] == ["a", " b", "c"]
    assert choice["message"] == {
        "role": "assistant",
        "content": "a bc",
        "reasoning_content": "I think",
    }


async def test_text_completions() -> None:
    base = {**BASE, "object": "text_completion"}

    def piece(text: str, finish: str | None = None, tokens: list[str] | None = None) -> Any:
        logprobs = {"tokens": tokens, "text_offset": [0], "top_logprobs": [{"a": -1.0}]}
        choice = {"index": 0, "text": text, "finish_reason": finish}
        return {**base, "choices": [{**choice, "logprobs": logprobs if tokens else None}]}

    answer = await whole(
        piece("a", tokens=["a"]), piece("b", tokens=["b"]), piece("", "length"), kind="text"
    )
    assert answer.data["object"] == "text_completion"
    assert answer.data["choices"] == [
        {
            "index": 0,
            "text": "ab",
            "finish_reason": "length",
            "logprobs": {
                "tokens": ["a", "b"],
                "text_offset": [0, 0],
                "top_logprobs": [{"a": -1.0}, {"a": -1.0}],
            },
        }
    ]
    assert answer.text == "ab"


async def test_what_repeats_is_not_emptied() -> None:
    """Some servers repeat a role or a reason as an empty text or null."""
    answer = await whole(
        delta(role="assistant", content="a"),
        delta(role="", content="b"),
        delta(role=None, content=""),
        delta(finish="stop"),
        {**BASE, "choices": [{"index": 0, "delta": None, "finish_reason": ""}]},
        {**BASE, "choices": [{"index": 0, "finish_reason": None}], "usage": None},
    )
    assert answer.data["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": "ab"},
        "finish_reason": "stop",
    }


@pytest.mark.parametrize(
    "odd",
    [
        {"tool_calls": "x"},
        {"tool_calls": ["x"]},
        {"tool_calls": [{"index": 0, "function": "x"}]},
        {"tool_calls": [{"index": "0", "function": {"arguments": "x"}}]},
        {"content": [{"type": "text", "text": "x"}]},
        {"role": 5},
    ],
)
async def test_odd_shapes_are_kept(odd: dict[str, Any]) -> None:
    """What the guard lets pass is merged somehow, and is not lost."""
    answer = await whole(delta(content="a"), delta(**odd), delta(**odd), delta(finish="stop"))
    name = next(iter(odd))
    assert answer.data["choices"][0]["message"][name]
    assert answer.finish_reason == "stop"


async def test_nothing_at_all() -> None:
    assert (await whole()).data == {"object": "chat.completion", "choices": []}
