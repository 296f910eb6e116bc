"""What all pages watch: one subscription, while somebody looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from h2o_relay.errors import UpstreamUnreachable
from h2o_relay.testing.upstream import until
from h2o_relay_ui.live import Live, Shared, close, live

from .fakes import FakeRelay, context, view

WITHIN = 20.0  # seconds


@pytest_asyncio.fixture
async def relay() -> AsyncIterator[FakeRelay]:
    yield FakeRelay(view("a"))


async def test_many_pages_have_one_subscription(relay: FakeRelay) -> None:
    one = context(relay)
    for _ in range(5):
        assert [v.name for v in await live(one).views()] == ["a"]
    assert relay.watching == 1
    relay.set("a", state="offline")
    async with asyncio.timeout(WITHIN):
        while (await live(one).views())[0].state != "offline":  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert relay.watching == 1
    await close(one)
    assert relay.watching == 0


async def test_nobody_who_looks_ends_it_and_the_next_look_begins_it_again(
    relay: FakeRelay,
) -> None:
    followed = Live(relay, linger=0.05)
    await followed.views()
    assert relay.watching == 1
    await until(lambda: relay.watching == 0, within=WITHIN)
    relay.put(view("b"))
    assert [v.name for v in await followed.views()] == ["b"]
    assert relay.watching == 1
    await followed.close()


async def test_a_relay_that_cannot_be_asked_is_told_and_asked_again(relay: FakeRelay) -> None:
    followed = Live(relay, again=0.01)
    await followed.views()
    relay.failing["changes"] = UpstreamUnreachable("nobody is there")
    relay.put(view("b"))
    await until(lambda: followed.problem == "nobody is there", within=WITHIN)
    assert [v.name for v in await followed.views()] == ["a"]
    del relay.failing["changes"]
    await until(lambda: followed.problem == "", within=WITHIN)
    assert [v.name for v in await followed.views()] == ["b"]
    await followed.close()


async def test_what_is_fetched_is_shared_for_a_while() -> None:
    fetched = 0

    async def fetch() -> int:
        nonlocal fetched
        fetched += 1
        await asyncio.sleep(0)
        return fetched

    kept = Shared(fetch, 60.0)
    assert set(await asyncio.gather(*(kept.get() for _ in range(9)))) == {1}
    fresh = Shared(fetch, 0.0)
    assert [await fresh.get(), await fresh.get()] == [2, 3]
