"""The official `ollama` client against the stand-in: what it sends is documented, and what it is
answered it reads.

Runs where the package is installed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from h2o_relay.testing.upstream import ScriptedUpstream

from .ollama_standin import BROKEN, CHATTY, EMBEDDER, MODELFILE_CTX, TOO_LONG, TRAINED, StandIn

ollama = pytest.importorskip("ollama", reason="the official ollama client is not installed")


@asynccontextmanager
async def talking() -> AsyncIterator[tuple[Any, StandIn]]:
    stand_in = StandIn()
    async with (
        ScriptedUpstream(stand_in) as upstream,
        ollama.AsyncClient(host=upstream.url, trust_env=False) as client,
    ):
        yield client, stand_in


def weather(city: str) -> str:
    """The weather.

    Args:
      city: A city.
    """
    return city


async def test_lists_and_descriptions() -> None:
    async with talking() as (client, _):
        listed = await client.list()
        shown = await client.show(CHATTY)
    assert [model.model for model in listed.models] == [CHATTY, EMBEDDER]
    assert listed.models[0].details.family == "llama"
    assert shown.modelinfo["llama.context_length"] == TRAINED
    assert shown.capabilities == ["completion", "tools", "thinking", "vision", "insert"]
    assert shown.modified_at.year == 2026


async def test_memory() -> None:
    async with talking() as (client, _):
        loaded = await client.generate(CHATTY, keep_alive=-1)
        (running,) = (await client.ps()).models
        unloaded = await client.generate(CHATTY, keep_alive=0)
        assert (await client.ps()).models == []
    assert (loaded.done_reason, unloaded.done_reason) == ("load", "unload")
    assert (running.model, running.context_length) == (CHATTY, MODELFILE_CTX)


async def test_a_chat_with_everything() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi", "images": [b"\x89PNG"]},
        ollama.Message(
            role="assistant",
            content="",
            tool_calls=[{"function": {"name": "weather", "arguments": {"city": "Rome"}}}],
        ),
        {"role": "tool", "tool_name": "weather", "content": "think of it"},
    ]
    async with talking() as (client, stand_in):
        answer = await client.chat(
            CHATTY, messages=messages, tools=[weather], think="high", keep_alive="10m",
            logprobs=True, top_logprobs=2, options={"temperature": 0, "stop": ["END"], "seed": 1},
        )  # fmt: skip
        assert stand_in.asked[-1][1]["messages"][1]["images"] == ["iVBORw=="]
    assert answer.message.content == "think of it"
    assert answer.message.thinking == "Hmm."
    assert (answer.done, answer.done_reason) == (True, "stop")
    assert answer.eval_count == 3
    assert answer.logprobs[0].top_logprobs[1].token == "x"


async def test_a_streamed_chat() -> None:
    async with talking() as (client, _):
        parts = await client.chat(
            CHATTY, messages=[{"role": "user", "content": "a b c"}], stream=True,
            options={"num_predict": 2},
        )  # fmt: skip
        found = [part async for part in parts]
    assert "".join(part.message.content for part in found) == "a b"
    assert [part.done for part in found] == [False, False, True]
    assert found[-1].done_reason == "length"


async def test_calls_of_tools() -> None:
    async with talking() as (client, _):
        answer = await client.chat(
            CHATTY, messages=[{"role": "user", "content": "call weather"}], tools=[weather]
        )
    calls = [(call.function.name, call.function.arguments) for call in answer.message.tool_calls]
    assert calls == [("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})]


async def test_texts() -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
    async with talking() as (client, _):
        plain = await client.generate(CHATTY, prompt="one two", raw=True)
        formed = await client.generate(CHATTY, prompt="x", format=schema, suffix="y")
        parts = await client.generate(CHATTY, prompt="one two", stream=True)
        streamed = "".join([part.response async for part in parts])
    assert plain.response == streamed == "one two"
    assert plain.prompt_eval_count == 2
    assert formed.response == '{"ok": true}'


async def test_embeddings() -> None:
    async with talking() as (client, _):
        answer = await client.embed(EMBEDDER, input=["a", "b c"], truncate=False, dimensions=2)
        with pytest.raises(ollama.ResponseError, match=TOO_LONG):
            await client.embed(EMBEDDER, input="x " * 600, truncate=False)
    assert answer.embeddings == [[1.0, 0.5], [3.0, 1.5]]
    assert answer.prompt_eval_count == 3


async def test_errors() -> None:
    async def drain(parts: Any) -> None:
        async for _ in parts:
            pass

    async with talking() as (client, _):
        with pytest.raises(ollama.ResponseError, match="not found") as unknown:
            await client.chat("nowhere", messages=[{"role": "user", "content": "x"}])
        parts = await client.generate(CHATTY, prompt="x break", stream=True)
        with pytest.raises(ollama.ResponseError, match=BROKEN):
            await drain(parts)
    assert unknown.value.status_code == 404
