"""Stopping: no new clients, short answers end, long ones are told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from h2o_relay.testing.scripts import hang, json, play, sse
from h2o_relay.testing.upstream import until

from .kit import (
    Relay,
    assert_cut,
    assert_error,
    assert_intact,
    chat,
    completion,
    get,
    post,
    relay,
    said,
)
from .raw_client import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def stop(running: Relay) -> None:
    running.server.should_exit = True
    await until(lambda: running.server.stopped.is_set(), within=5)


async def test_a_short_answer_ends(caplog: pytest.LogCaptureFixture) -> None:
    async with relay(sse(said(20)).paced(0.02)) as running, running.client() as client:
        await client.send(post(chat()))
        head = await client.head()
        stopping = asyncio.create_task(stop(running))
        head.pieces = [(0, piece) async for piece in pieces(client)]
        head.complete = True
        assert_intact(head, said(20))
        assert await client.ended() == b""
        await stopping
        with pytest.raises(ConnectionError):
            await running.ask(get("/health"))
        assert len(running.asked) == 1
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


async def pieces(client: Client) -> AsyncIterator[bytes]:
    while piece := await client.piece():
        yield piece


async def test_a_long_stream_is_told(caplog: pytest.LogCaptureFixture) -> None:
    script = sse(said(9)).upto(3) + play(hang)
    async with relay(script, drain_timeout=1) as running, running.client() as client:
        await client.send(post(chat()))
        stopping = asyncio.create_task(until_asked_then_stop(running))
        error = assert_cut(await client.reply(), said(3, None), "draining")
        assert error["type"] == "overloaded_error"
        assert await client.ended() == b""
        await stopping
        await running.calm()
    assert "Traceback" not in caplog.text


async def until_asked_then_stop(running: Relay) -> None:
    await until(lambda: running.upstream.answering, within=1)
    await asyncio.sleep(0.05)
    await stop(running)


async def test_a_long_wait_for_an_answer_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        relay(play(hang), drain_timeout=1) as running,
        running.client() as streamed,
        running.client() as whole,
    ):
        await streamed.send(post(chat()))
        await whole.send(post(chat(False)))
        stopping = asyncio.create_task(until_asked_then_stop(running))
        for client in (streamed, whole):
            assert_error(await client.reply(), 503, "draining", "overloaded_error")
            assert await client.ended() == b""
        await stopping
        await running.calm()
    assert "Traceback" not in caplog.text


async def test_idle_connections_do_not_hold_it_up() -> None:
    async with (
        relay(json(completion())) as running,
        running.client() as silent,
        running.client() as used,
        running.client() as half,
    ):
        await used.send(post(chat(False)))
        assert (await used.reply()).status == 200
        await half.send(get("/health")[:9])
        await asyncio.sleep(0.02)
        loop = asyncio.get_running_loop()
        start = loop.time()
        await stop(running)
        assert loop.time() - start < 3
        for client in (silent, used, half):
            await client.ended()
