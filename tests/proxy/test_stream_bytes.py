"""Streams pass through byte for byte, whatever TCP makes of them, and each event as it comes."""

from __future__ import annotations

import asyncio
import random
import re

import orjson
import pytest

from h2o_relay.plugins import Plugins
from h2o_relay.testing import echo
from h2o_relay.testing.scripts import at, chunk, each, event, hang, play, sse, stream
from h2o_relay.testing.upstream import Answer, Received, Script

from .kit import TEXT, Relay, assert_intact, chat, post, relay, said
from .raw_client import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

ODD = [
    b'{"choices": [ {"index":0,"delta":{"content":"a\\u00e9 b"}} ], "x":1e2}',
    '{"choices":[{"index":0,"delta":{"content":"é 🦆 \u2028 data: [DONE]"}}]}'.encode(),
    b'{"choices":[{"index":0,"delta":{"content":"\\n\\ndata: [DONE]\\n\\n\\u0000\\r\\ufeff"}}]}',
    b'{"choices":[],"id":"data: [DONE]","big":123456789012345678901234567890}',
    b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop","logprobs":null}],"z":-0.0}',
    b'{"choices":[],"usage":{"total_tokens":3}}',
]
"""Payloads that would not survive decoding and encoding, or look like something else."""


async def streams(running: Relay, script: Script) -> Reply:
    running.plays(script)
    return await running.ask(post(chat()))


async def test_every_place_where_tcp_may_cut_an_answer(running: Relay) -> None:
    whole = sse(ODD[2:])
    for place in range(1, len(whole.wire)):
        assert_intact(await streams(running, whole.recut(at(place))), ODD[2:])
    assert_intact(await streams(running, whole.recut(each(1))), ODD[2:])


async def test_random_tcp_segments_and_http_chunks(running: Relay) -> None:
    rng = random.Random(7)
    payloads = ODD[:2] + said(40, None) + ODD[2:]
    for _ in range(60):
        newline = rng.choice([b"\n", b"\r\n", b"\r"])
        script = sse(payloads, newline=newline)
        body, wire = len(script.body), len(script.wire)
        script = script.rechunk(at(*rng.sample(range(1, body), rng.randint(0, 60))))
        wire = len(script.wire)
        script = script.recut(at(*rng.sample(range(1, wire), rng.randint(0, 60))))
        assert_intact(await streams(running, script), payloads)


async def test_framings(running: Relay) -> None:
    for framing in ("chunked", "length", "close"):
        assert_intact(await streams(running, sse(ODD, framing=framing)), ODD)


async def test_dialects(running: Relay) -> None:
    first, *rest = ODD
    pieces = [
        b"\xef\xbb\xbf: a comment\r\n\r\n",
        b"id: 7\r\nretry: 10\r\ndata:" + first + b"\r\n\r\n",
        b"event: execute\r\ndata: {}\r\n\r\n",
        b": keep-alive\n\n",
        *(b"event: message\n" + event(p, b"\r") for p in rest),
        b"data:[DONE]\r\n\r\n",
    ]
    running.plays(stream(pieces))
    assert_intact(await running.ask(post(chat())), ODD)


async def test_text_completions(running: Relay) -> None:
    payloads = [
        b'{"choices":[{"index":0,"text":"a"}]}',
        b'{"choices":[{"index":1,"text":"b","finish_reason":"length"}]}',
        b'{"choices":[{"index":0,"text":"","finish_reason":"stop"}]}',
    ]
    body = {"model": "m", "prompt": ["x", "y"], "stream": True}
    running.plays(sse(payloads))
    assert_intact(await running.ask(post(body, TEXT)), payloads)
    assert running.asked[0].path == TEXT


async def test_headers(running: Relay) -> None:
    reply = await running.ask(post(chat(), headers={"X-Request-Id": "abc-123"}))
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["x-accel-buffering"] == "no"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["x-request-id"] == "abc-123"
    assert reply.headers["x-h2o-backend"] == "vllm"
    assert "server" not in reply.headers
    assert "access-control-allow-origin" not in reply.headers


async def test_request_ids_that_are_made_new(running: Relay) -> None:
    given: list[dict[str, str]] = [{}]
    given += [{"X-Request-Id": bad} for bad in ("", "a b", "x" * 129, "a;b", '"', "<b>", "-")]
    replies = [await running.ask(post(chat(), headers=headers)) for headers in given]
    ids = {reply.headers["x-request-id"] for reply in replies}
    assert len(ids) == len(given)
    assert all(re.fullmatch("[0-9a-f]{24}", found) for found in ids)


async def test_each_event_leaves_at_once() -> None:
    sent: list[float] = []
    count = 20

    async def script(_: Received, answer: Answer) -> None:
        whole = sse(said(count))
        steps = [step for step in whole.steps if isinstance(step, bytes)]
        await answer.send(steps[0])
        for step in steps[1:]:
            sent.append(asyncio.get_running_loop().time())
            await answer.send(step)
            await asyncio.sleep(0.1)

    async with relay(script) as running:
        reply = await running.ask(post(chat()))
    assert_intact(reply, said(count))
    late = sorted(there - then for (there, _), then in zip(reply.pieces, sent, strict=False))
    assert len(late) == count + 2
    assert late[len(late) // 2] < 0.02, late
    assert late[-3] < 0.1, late  # the machine itself may stall once, and hold two


async def test_the_head_waits_for_the_first_event(running: Relay) -> None:
    running.plays(play(sse([]).steps[0], hang))
    async with running.client() as client:
        await client.send(post(chat()))
        with pytest.raises(TimeoutError):
            await client.reply(within=0.2)


async def test_the_first_event_is_not_held_for_the_second(running: Relay) -> None:
    first = said(1)[0]
    script = play(sse([]).steps[0], chunk(event(first)), hang)
    running.plays(script)
    async with running.client() as client:
        await client.send(post(chat()))
        assert (await client.head()).status == 200
        assert await client.piece() == event(first)


async def test_a_backend_that_is_not_openai_shaped() -> None:
    echo.journal.clear()
    plugins = Plugins.of(echo=echo)
    options = {"include_usage": True}
    async with relay(servers=["echo"], plugins=plugins) as running:
        body = chat(model="echo", stream_options=options)
        body["messages"] = [{"role": "user", "content": "one two é"}]
        reply = await running.ask(post(body))
        whole = await running.ask(post({**body, "stream": False}))
    *events, done = reply.payloads
    assert done == b"[DONE]"
    texts = [c["delta"].get("content", "") for e in events for c in orjson.loads(e)["choices"]]
    assert texts == ["one ", "two ", "é", ""]
    assert orjson.loads(events[-1])["usage"]["completion_tokens"] == 3
    assert whole.json()["choices"][0]["message"]["content"] == "one two é"
    assert reply.headers["x-h2o-backend"] == "echo"
    assert echo.journal.finished == 2
