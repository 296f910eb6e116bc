"""A client that does not read holds its own upstream back, and only for so long."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from h2o_relay.testing.scripts import sse
from h2o_relay.testing.upstream import Answer, Received, until

from .kit import Relay, assert_intact, chat, get, post, relay, said
from .raw_client import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")

PIECE = said(1, None, text="x" * 16_000)
BOUND = 24 * 2**20
"""Bytes that may be on their way: the kernel's buffers for two connections and ours."""


class Flood:
    """An upstream that sends as fast as it is let, and counts."""

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, request: Received, answer: Answer) -> None:
        steps = sse(PIECE).steps
        head, piece = steps[0], steps[1]
        assert isinstance(head, bytes)
        assert isinstance(piece, bytes)
        await answer.send(head)
        while True:
            await answer.send(piece)
            self.sent += len(piece)

    async def stalls(self) -> int:
        """Wait until nothing moves any more; the bytes sent by then."""
        last = -1
        async with asyncio.timeout(20):
            while self.sent != last:
                last = self.sent
                assert last < BOUND
                await asyncio.sleep(0.05)
        return last


@contextlib.asynccontextmanager
async def stalled(running: Relay, flood: Flood) -> AsyncIterator[Client]:
    async with running.client(receive_buffer=4096) as client:
        await client.send(post(chat()))
        await until(lambda: flood.sent, within=2)
        assert await flood.stalls() > 0
        yield client


async def test_the_upstream_is_held_back_and_freed_when_the_client_goes() -> None:
    flood = Flood()
    async with relay(flood, write_timeout=30) as running:
        for leave in ("reset", "close"):
            flood.sent = 0
            async with stalled(running, flood) as client:
                assert (await running.ask(get("/health"))).status == 200
                assert running.upstream.answering == 1
                if leave == "reset":
                    client.reset()
                else:
                    client.writer.transport.abort()
                await running.calm()
        assert len(running.upstream.gone) == 2


async def test_a_client_that_reads_again_gets_the_rest() -> None:
    count = 400
    payloads = PIECE * count + said(1)
    async with (
        relay(sse(payloads), write_timeout=30) as running,
        running.client(receive_buffer=4096) as client,
    ):
        await client.send(post(chat()))
        await asyncio.sleep(0.3)
        assert_intact(await client.reply(), payloads)


async def test_a_stalled_client_is_dropped() -> None:
    flood = Flood()
    async with relay(flood, write_timeout=0.4) as running:
        async with stalled(running, flood):
            await running.calm(1.5)
        assert len(running.upstream.gone) == 1


async def test_a_client_that_reads_a_little_is_not_stalled() -> None:
    flood = Flood()
    patience = 2.5
    async with relay(flood, write_timeout=patience) as running:
        async with stalled(running, flood) as client:
            loop = asyncio.get_running_loop()
            start = loop.time()
            while loop.time() - start < 2 * patience:
                assert await client.reader.read(2**20)
            assert running.upstream.answering == 1
        await running.calm()


async def test_what_is_left_of_an_answer_is_dropped_in_time() -> None:
    """The upstream is done and little is left, so that nothing waits for it to be written."""

    async def script(_: Received, answer: Answer) -> None:
        head, piece, *_rest = sse(PIECE).steps
        *_head, finish, done, last = sse(said(0)).steps
        await answer.send(head)
        while not running.unsent:
            await answer.send(piece)
            await asyncio.sleep(0.001)
        for step in (finish, done, last):
            await answer.send(step)

    async with (
        relay(script, write_timeout=0.4) as running,
        running.client(receive_buffer=4096) as client,
    ):
        await client.send(post(chat(), headers={"Connection": "close"}))
        await until(lambda: running.upstream.answering, within=1)
        await running.calm(2)
        assert running.connections
        await until(lambda: not running.connections, within=1)


async def test_fifty_stalled_clients_do_not_hold_up_others() -> None:
    flood = Flood()
    async with relay(flood, write_timeout=30) as running:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(50):
                client = await stack.enter_async_context(running.client(receive_buffer=4096))
                await client.send(post(chat()))
            await until(lambda: running.upstream.answering == 50, within=5)
            loop = asyncio.get_running_loop()
            took = []
            for _ in range(5):
                start = loop.time()
                assert (await running.ask(get("/health"))).status == 200
                took.append(loop.time() - start)
            assert sorted(took)[2] < 1, took  # the machine itself may stall once
        await running.calm(2)
