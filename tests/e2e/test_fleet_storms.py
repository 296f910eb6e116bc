"""Servers that fail whatever they are asked, and servers that come back to a crowd that waits."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from h2o_relay.errors import UpstreamUnavailable
from h2o_relay.testing.bench import Bench
from h2o_relay.testing.scripts import json
from h2o_relay.testing.upstream import Answer, Received, until

from ..proxy.kit import assert_error
from ..proxy.raw_client import Reply
from .fleet_kit import Relay, entry, intact, needs_linux, serving

pytestmark = [pytest.mark.e2e, needs_linux, pytest.mark.timeout(120)]
STORM = 1000
AT_ONCE = 50
MOST = 1200  # requests that reach the server: a fifth more than there are
QUICK = 0.02  # seconds, where it is known already that nobody can answer
BACK = 5.0  # seconds in which a server that is well again is used
SLOW = "ok@first=300"
CODES = {500: "upstream_bad_response", 503: "upstream_unavailable"}


class Moody(Bench):
    """Fails with `status` whatever is to be generated, while that is set; its lists are good."""

    def __init__(self, *also: str) -> None:
        super().__init__(also=also)
        self.status: int | None = None

    @property
    def asked(self) -> list[Received]:
        return [r for r in self.requests if r.method == "POST"]

    async def _answer(self, request: Received, answer: Answer) -> None:
        if request.method == "POST" and self.status is not None:
            await json(UpstreamUnavailable("mood").body(), self.status)(request, answer)
        else:
            await super()._answer(request, answer)


@contextlib.asynccontextmanager
async def crowd(running: Relay, model: str) -> AsyncIterator[list[Reply]]:
    """As many clients as there may be, who ask again and again inside the block."""
    replies: list[Reply] = []

    async def one() -> None:
        while True:
            replies.append(await running.ask(model))
            await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(one()) for _ in range(AT_ONCE)]
    try:
        yield replies
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended


@pytest.mark.parametrize("status", [500, 503])
async def test_a_server_that_fails_is_spared(status: int, tmp_path: Path) -> None:
    """F20: at most a fifth more requests than clients made, then none at all but for trials."""
    async with Moody(SLOW) as server:
        server.status = status
        config = {"models": [entry("stormy", server.url, SLOW)]}
        async with serving(tmp_path, config) as running:
            await running.says("Ctrl-C stops it")
            start = time.monotonic()
            replies = await storm(running)
            took = time.monotonic() - start
            count = Counter(reply.status for reply in replies)
            print(f"{status}: {dict(count)} in {took:.1f} s, {len(server.asked)} of them upstream")
            for reply in replies:
                refused(reply, status)
            assert sum("retry-after" in reply.headers for reply in replies) > STORM / 2
            assert len(server.asked) <= MOST
            assert len(server.asked) < STORM / 2, "the breaker did not open"
            seconds = sorted([await timed(running) for _ in range(50)])
            print(f"refused in {seconds[25] * 1000:.1f} ms")
            assert seconds[len(seconds) // 2] < QUICK
            await recovers(running, server)


async def storm(running: Relay) -> list[Reply]:
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> Reply:
        async with limit:
            return await running.ask("stormy", bool(number % 2))

    return await asyncio.gather(*map(one, range(STORM)))


def refused(reply: Reply, status: int) -> None:
    """By the server, or by the relay, which says when to come back."""
    if reply.status == 502:
        assert status == 500
        assert_error(reply, 502, CODES[500], "upstream_error")
        assert reply.headers["x-should-retry"] == "false"
    else:
        assert_error(reply, 503, "upstream_unavailable", "overloaded_error")
        assert status == 503 or int(reply.headers["retry-after"]) >= 0


async def timed(running: Relay) -> float:
    start = time.monotonic()
    assert (await running.ask("stormy")).status in (502, 503)
    return time.monotonic() - start


async def recovers(running: Relay, server: Moody) -> None:
    """A crowd waits, and one of it is the trial: the others are let in once that was answered."""
    async with crowd(running, "stormy") as replies:
        await asyncio.sleep(0.5)
        server.status = None
        server.forget()
        start = time.monotonic()
        await until(lambda: server.count(SLOW).open, within=BACK)
        print(f"tried {time.monotonic() - start:.2f} s after it was well")
        trial = server.count(SLOW)
        while trial.open == 1 and not any(reply.status == 200 for reply in replies[-AT_ONCE:]):
            assert trial.requests == 1
            await asyncio.sleep(0.005)
        await until(lambda: any(reply.status == 200 for reply in replies), within=BACK)
        assert len(server.asked) <= 1 + AT_ONCE
    intact(await running.ask("stormy"), True)


async def test_no_stampede_when_a_pool_comes_back(tmp_path: Path) -> None:
    """F97: each member is tried by one request before a crowd is let in."""
    async with Moody(SLOW) as one, Moody(SLOW) as two:
        members = {"a": one, "b": two}
        config = {
            "models": [entry(name, server.url, SLOW) for name, server in members.items()],
            "pools": {"both": {"members": list(members)}},
        }
        async with serving(tmp_path, config) as running:
            async with crowd(running, "both") as replies:
                await until(lambda: any(reply.status == 200 for reply in replies), within=BACK)
                for server in members.values():
                    server.vanish()
                await asyncio.sleep(2)
                since = len(replies)
                await asyncio.sleep(1)
                away = Counter(reply.status for reply in replies[since:])
                assert set(away) == {503}, away
                await asyncio.gather(*(comes_back(*member) for member in members.items()))
                await until(lambda: replies[-1].status == 200, within=BACK)
            intact(await running.ask("both"), True)


async def comes_back(name: str, server: Moody) -> None:
    """One request, until that was answered."""
    server.forget()
    await server.listen()
    start = time.monotonic()
    count = server.count(SLOW)
    await until(lambda: count.requests, within=2 * BACK)
    took = time.monotonic() - start
    most = count.requests
    while count.open and count.requests == count.open:
        most = max(most, count.open)
        await asyncio.sleep(0.002)
    print(f"{name}: tried {took:.2f} s after its return, by {most} at first")
    assert most == 1
