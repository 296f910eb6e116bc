"""Leaving: no new requests, short answers end, long ones are told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from h2o_relay.testing.scripts import hang, json, play, sse
from h2o_relay.testing.upstream import until

from .kit import (
    KEY,
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
from .raw_client import Client, Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")


DRAIN = 2.5
SOON = 8.0
"""Seconds in which a relay that is well does anything small, on a machine that is not."""


async def stop(running: Relay) -> None:
    running.server.leave()
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
    async with relay(script, drain_timeout=DRAIN) as running, running.client() as client:
        start = asyncio.get_running_loop().time()
        await client.send(post(chat()))
        stopping = asyncio.create_task(until_asked_then_stop(running))
        error = assert_cut(await client.reply(), said(3, None), "gateway_shutdown")
        assert error["type"] == "overloaded_error"
        assert DRAIN <= asyncio.get_running_loop().time() - start < DRAIN + SOON
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
        relay(play(hang), drain_timeout=DRAIN) as running,
        running.client() as streamed,
        running.client() as whole,
    ):
        await streamed.send(post(chat()))
        await whole.send(post(chat(False)))
        stopping = asyncio.create_task(until_asked_then_stop(running))
        for client in (streamed, whole):
            assert_error(await client.reply(), 503, "gateway_shutdown", "overloaded_error")
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
        assert loop.time() - start < running.settings.drain_timeout
        for client in (silent, used, half):
            await client.ended()


async def test_what_is_told_while_answers_end() -> None:
    async with (
        relay(play(hang), drain_timeout=30, api_key=KEY) as running,
        running.client() as kept,
        running.client() as waiting,
    ):
        key = {"Authorization": f"Bearer {KEY}"}
        await kept.send(get("/health"))
        assert (await kept.reply()).status == 200
        await waiting.send(post(chat(), headers=key))
        await until(lambda: running.upstream.answering, within=SOON)
        running.server.signalled(15)
        asked = [get("/readyz"), get("/v1/models", **key), post(chat(), headers=key), post(chat())]
        for data in asked:
            assert_refused(await running.ask(data))
        assert (await running.ask(get("/health"))).json()["status"] == "ok"
        await kept.send(post(chat(False), headers=key))
        assert_refused(await kept.reply())
        assert await kept.ended() == b""
        assert not running.server.stopped.is_set()
        assert len(running.asked) == 1
        running.server.signalled(15)
        assert_error(await waiting.reply(), 503, "gateway_shutdown")
        await until(lambda: running.server.stopped.is_set(), within=SOON)
        assert running.server.status == 128 + 15


def assert_refused(reply: Reply) -> None:
    assert_error(reply, 503, "draining", "overloaded_error")
    assert reply.headers["connection"] == "close"
    assert reply.headers["retry-after"] == "5"


async def test_a_second_signal_cuts_a_stream_at_once() -> None:
    script = sse(said(9)).upto(3) + play(hang)
    async with relay(script, drain_timeout=60) as running, running.client() as client:
        await client.send(post(chat()))
        head = await client.head()
        running.server.signalled(2)
        running.server.signalled(2)
        head.pieces = [(0, piece) async for piece in pieces(client)]
        head.complete = True
        assert_cut(head, said(3, None), "gateway_shutdown")
        await until(lambda: running.server.stopped.is_set(), within=SOON)
        assert running.server.status == 130


async def test_who_left_in_good_order_has_status_0() -> None:
    async with relay() as running:
        assert_intact(await running.ask(post(chat())), said(3))
        running.server.signalled(15)
        await until(lambda: running.server.stopped.is_set(), within=SOON)
        assert running.server.status == 0


async def test_no_patience_at_all() -> None:
    async with relay(play(hang), drain_timeout=0) as running, running.client() as client:
        await client.send(post(chat(False)))
        await until(lambda: running.upstream.answering, within=SOON)
        await stop(running)
        assert_error(await client.reply(), 503, "gateway_shutdown")


async def test_an_answer_that_is_not_read_yet_is_waited_for() -> None:
    text = "x" * 12_000_000
    async with (
        relay(json(completion(text)), max_event=2**25, write_timeout=20) as running,
        running.client(receive_buffer=4096) as client,
    ):
        await client.send(post(chat(False)))
        await until(lambda: running.unsent, within=SOON)
        stopping = asyncio.create_task(stop(running))
        await asyncio.sleep(0.3)
        assert not running.server.stopped.is_set()
        assert (await client.reply()).json() == completion(text)
        await stopping


async def test_streams_without_an_end_are_not_waited_for() -> None:
    """The chat page's stream of changes lasts as long as the page does."""
    async with relay(admin_pass="pass", drain_timeout=60) as running, running.client() as client:
        await client.send(get("/admin/changes", Authorization="Bearer pass"))
        assert (await client.head()).status == 200
        await stop(running)


async def test_requests_that_follow_the_last_answer_are_refused() -> None:
    async with (
        relay(sse(said(9)).paced(0.05), drain_timeout=30) as running,
        running.client() as client,
    ):
        await client.send(post(chat()) + post(chat(False)))
        head = await client.head()
        stopping = asyncio.create_task(stop(running))
        head.pieces = [(0, piece) async for piece in pieces(client)]
        head.complete = True
        assert_intact(head, said(9))
        assert_refused(await client.reply())
        await stopping
        assert len(running.asked) == 1
