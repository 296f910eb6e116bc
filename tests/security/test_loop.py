"""Nothing that a request makes the relay do holds up the others."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson

from h2o_relay.spec import ServerSpec
from h2o_relay.testing.scripts import json, sse
from h2o_relay.types import Tuning

from ..proxy.kit import CHAT, KEY, TEXT, Relay, chat, completion, get, post, relay, said
from .watchdog import watched

MOST = 0.010  # seconds of the processor for one step
TRIES = 5
AUTH = {"Authorization": f"Bearer {KEY}"}
LONG = "x " * 20_000
USER = {"role": "user", "content": LONG}


async def busy(running: Relay) -> None:
    """Requests of every kind, as large as those of a long conversation."""
    asked: list[bytes] = [get(path, **AUTH) for path in ("/v1/models", "/health", "/openapi.json")]
    for stream in (True, False):
        asked += [
            post(chat(stream), headers=AUTH),
            post(chat(stream, messages=[USER] * 5), headers=AUTH),
            post({"model": "m", "prompt": LONG, "stream": stream}, TEXT, AUTH),
            post({"model": "m", "input": LONG, "stream": stream}, "/v1/responses", AUTH),
            post({"model": "m", "messages": [USER], "max_tokens": 9, "stream": stream},
                 "/v1/messages", AUTH),
        ]  # fmt: skip
    asked += [
        post(b"{" * 5000, CHAT, AUTH), post(b'{"a": "' + b"\\u0000" * 5000, CHAT, AUTH),
        post(chat(stop=["a"] * 257), headers=AUTH), post(chat(), headers={"X-Api-Key": "wrong"}),
        post(chat(tools=[{"type": "function", "function": {"name": "f", "parameters": {
            "pattern": "(a+)+$"}}}] * 512), headers=AUTH),
        post(orjson.dumps(chat(messages=[{"role": "user", "content": "hi"}] * 2000)), CHAT, AUTH),
    ]  # fmt: skip
    for data in asked:
        assert (await running.ask(data)).status < 500


async def test_s41_no_step_keeps_the_loop() -> None:
    """A step that is long each time is one that is long; a single one may be the machine's."""
    tuning = Tuning(max_max_new_tokens=1000)
    server = ServerSpec(server="vllm_chat:{url}/v1", base_model="m", tuning=tuning)
    longest: list[tuple[float, str]] = []
    async with relay(sse(said(200)), servers=[server], api_key=KEY) as running:
        running.plays(either())
        await busy(running)
        for _ in range(TRIES):
            with watched() as steps:
                await busy(running)
            assert steps.count > 200
            longest.append((steps.longest, steps.what))
            if steps.longest < MOST:
                return
    raise AssertionError(f"each time a step was longer than {MOST} s: {longest}")


def either() -> Any:
    async def run(request: Any, answer: Any) -> None:
        stream = b'"stream":true' in request.body
        await (sse(said(200)) if stream else json(completion("y " * 5000)))(request, answer)

    return run


async def test_s41_a_step_that_does_is_seen() -> None:
    async def stuck() -> None:
        until = time.thread_time() + 3 * MOST
        while time.thread_time() < until:
            pass

    with watched() as steps:
        await asyncio.create_task(stuck())
    assert steps.longest > MOST
    assert "stuck" in steps.what
    with watched() as steps:
        await asyncio.sleep(3 * MOST)
    assert steps.longest < 3 * MOST
