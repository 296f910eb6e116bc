"""Requests that come slowly: each part of one has its time, and no more."""

from __future__ import annotations

import asyncio
import contextlib

import orjson
import pytest

from .conftest import PAUSE
from .kit import KEY, Relay, assert_error, chat, get, post

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUTH = {"Authorization": f"Bearer {KEY}"}
BODY = orjson.dumps(chat())
SOON = 8.0  # seconds, on a machine that has other things to do


async def test_heads_that_drip(guarded: Relay) -> None:
    loop = asyncio.get_running_loop()

    async def one(data: bytes) -> None:
        async with guarded.client() as client:
            start = loop.time()
            if len(data) > 60:
                await client.send(data)
                assert (await client.reply()).status == 200
            else:
                for byte in data[:20]:
                    await client.send(bytes([byte]))
                    await asyncio.sleep(0.005)
            assert_error(await client.reply(), 408, "request_timeout")
            assert await client.ended() == b""
            assert PAUSE - 0.3 < loop.time() - start < PAUSE + SOON

    await asyncio.gather(one(get("/health")), one(get("/health") + get("/health")[:8]))


async def test_bodies_that_drip(guarded: Relay, caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    async with guarded.client() as client:
        start = loop.time()
        await client.send(post(BODY, headers=AUTH)[: -len(BODY)])
        for byte in BODY[:30]:
            await client.send(bytes([byte]))
            await asyncio.sleep(0.005)
        assert_error(await client.reply(), 408, "request_timeout")
        assert await client.ended() == b""
        assert PAUSE - 0.3 < loop.time() - start < PAUSE + SOON
    assert guarded.asked == []
    assert caplog.records == []


async def test_a_large_body_has_the_time_it_takes(guarded: Relay) -> None:
    """A clock for the whole body would cut long prompts on slow lines."""
    body = orjson.dumps({"pad": "x" * 200_000})
    loop = asyncio.get_running_loop()
    async with guarded.client() as client:
        start = loop.time()
        data = post(body, headers=AUTH)
        for place in range(0, len(data), 20_000):
            await client.send(data[place : place + 20_000])
            await asyncio.sleep(PAUSE / 9)
        assert loop.time() - start > PAUSE
        assert_error(await client.reply(), 400, "missing_required_parameter")


async def test_a_client_that_says_nothing_is_let_go(guarded: Relay) -> None:
    async with guarded.client() as client:
        assert await client.ended() == b""


async def test_two_hundred_slow_clients_do_not_hold_up_others(guarded: Relay) -> None:
    """Each says something at once: one that is silent for too long is let go without a word."""
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for _ in range(200):
            clients.append(await stack.enter_async_context(guarded.client()))
            await clients[-1].send(b"POST /v1/")
        loop = asyncio.get_running_loop()
        took = []
        for _ in range(10):
            start = loop.time()
            assert (await guarded.ask(get("/health"))).status == 200
            took.append(loop.time() - start)
        assert sorted(took)[5] < 0.5, took  # the machine itself may stall once
        for client in clients:
            assert_error(await client.reply(), 408, "request_timeout")
