"""Limits shared through a real Redis: together never more than one alone, whatever Redis does."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("redis", reason="needs the client of Redis (h2o-relay[redis])")
from redis_server import MISSING, RedisServer, binary

from h2o_relay.accounting import redis_counters, redis_link
from h2o_relay.accounting.limits import Limits, open_counters
from h2o_relay.accounting.permits import LimitReached, Permit
from h2o_relay.accounting.redis_counters import RedisCounters
from h2o_relay.accounting.redis_link import BEAT, RedisLink, shown

from .limits_kit import caller

pytestmark = pytest.mark.skipif(binary() is None, reason=MISSING)
SOON = 15  # seconds in which what should happen soon has happened on the slowest machine
TOGETHER = """
import asyncio, json, sys
from h2o_relay.accounting.caller import Allowance, Caller
from h2o_relay.accounting.limits import Limits, open_counters
from h2o_relay.accounting.permits import LimitReached

from h2o_relay.accounting import redis_link

redis_link.TIMEOUT = redis_link.REPLY = 10.0  # a busy machine is no failure of Redis

async def main(url, allowance):
    counters = open_counters(url)
    limits, who = Limits(counters), Caller(id="key_1", allowance=Allowance(**allowance))
    counts = {"admitted": 0, "tokens": 0, "cost": 0, "most": 0, "now": 0, "alone": 0}
    async def one():
        try:
            permit = await limits.admit(who, 7, 0.01)
        except LimitReached:
            return
        counts["admitted"] += 1
        counts["now"] += 1
        counts["most"] = max(counts["most"], counts["now"])
        await asyncio.sleep(0.01)
        permit.settle(7, 0.01)
        counts["tokens"] += 7
        counts["cost"] += 10_000_000
        counts["now"] -= 1
        permit.release()
    for _ in range(40):
        await asyncio.gather(*(one() for _ in range(10)))
        counts["alone"] += counters.trouble is not None
    await limits.aclose()
    print(json.dumps(counts))

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    found = RedisServer(tmp_path)
    found.start()
    yield found
    found.stop()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stalls for a moment is no failure of Redis; but for the tests of that."""
    monkeypatch.setattr(redis_link, "TIMEOUT", 5.0)
    monkeypatch.setattr(redis_link, "REPLY", 5.0)
    monkeypatch.setattr(redis_counters, "LOOK", 0.05)


class Relays:
    """Some that share one Redis."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.counters: list[RedisCounters] = []

    def one(self) -> Limits:
        counters = open_counters(self.server.url)
        assert isinstance(counters, RedisCounters)
        self.counters.append(counters)
        return Limits(counters)


@pytest.fixture
async def relays(server: RedisServer) -> AsyncIterator[Relays]:
    found = Relays(server)
    yield found
    for counters in found.counters:
        await counters.aclose()


async def try_(
    limits: Limits, tokens: int = 1, cost: float = 0.0, **allowance: Any
) -> Permit | LimitReached:
    try:
        permit = await limits.admit(caller(**allowance), tokens, cost)
    except LimitReached as error:
        return error
    assert permit is not None
    return permit


async def admitted(limits: Limits, tokens: int = 1, cost: float = 0.0, **allowance: Any) -> Permit:
    found = await try_(limits, tokens, cost, **allowance)
    assert isinstance(found, Permit), found
    return found


async def refused(
    limits: Limits, tokens: int = 1, cost: float = 0.0, **allowance: Any
) -> LimitReached:
    found = await try_(limits, tokens, cost, **allowance)
    assert isinstance(found, LimitReached)
    return found


async def become(condition: Any) -> None:
    async with asyncio.timeout(SOON):
        while not await condition():  # noqa: ASYNC110 - something in Redis, not an event
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("allowance", "what", "most"),
    [({"requests_per_minute": 90}, "admitted", 90),
     ({"tokens_per_minute": 700}, "tokens", 700),
     ({"budget": 0.5}, "cost", 500_000_000)],
    ids=["requests", "tokens", "budget"],
)  # fmt: skip
def test_two_processes_never_exceed_a_limit_together(
    server: RedisServer, allowance: dict[str, Any], what: str, most: int
) -> None:
    counts = together(server, allowance)
    assert not sum(one["alone"] for one in counts)
    assert sum(one[what] for one in counts) == most


def test_two_processes_share_the_places(server: RedisServer) -> None:
    counts = together(server, {"concurrent": 4})
    assert not sum(one["alone"] for one in counts)
    assert all(one["most"] <= 4 for one in counts)
    assert sum(one["admitted"] for one in counts) > 8


def together(server: RedisServer, allowance: dict[str, Any]) -> list[dict[str, int]]:
    words = [sys.executable, "-c", TOGETHER, server.url, json.dumps(allowance)]
    processes = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    return [json.loads(process.communicate(timeout=60)[0]) for process in processes]


async def test_what_one_has_used_the_other_is_told(relays: Relays) -> None:
    a, b = relays.one(), relays.one()
    may = {"requests_per_minute": 3, "tokens_per_minute": 100}
    await admitted(a, 60, **may)
    second = await admitted(b, 40, **may)
    headers = {name.decode(): value.decode() for name, value in second.headers}
    assert headers["x-ratelimit-remaining-requests"] == "1"
    assert headers["x-ratelimit-remaining-tokens"] == "0"
    error = await refused(a, 10, **may)
    assert error.code == "rate_limit_exceeded"
    assert error.retry_after is not None
    assert 45 < error.retry_after <= 61
    second.settle(30, None)
    second.release()

    async def room() -> bool:
        return isinstance(await try_(a, 10, **may), Permit)

    await become(room)
    assert (await refused(b, 1, **may)).retry_after is not None


async def test_requests_leave_the_window_when_the_refusal_says(relays: Relays) -> None:
    """Half a minute is skipped by telling Redis that what it holds is older."""
    a = relays.one()
    await admitted(a, requests_per_minute=1)
    await refused(a, requests_per_minute=1)
    client = RedisLink(relays.server.url)._redis
    for seconds, fits in ((40, False), (21, True)):
        fields = await client.hgetall("h2o:limits:{key_1}:window")
        for field, value in fields.items():
            await client.hdel("h2o:limits:{key_1}:window", field)
            older = f"{field[0]}{int(field[1:]) - seconds}"
            await client.hset("h2o:limits:{key_1}:window", older, value)
        assert isinstance(await try_(a, requests_per_minute=1), Permit) is fits
    await client.aclose()


async def test_a_request_that_never_fits(relays: Relays) -> None:
    error = await refused(relays.one(), 101, tokens_per_minute=100)
    assert error.retry_after is None
    assert "max_tokens" in error.message


async def test_places_come_back(relays: Relays) -> None:
    a, b = relays.one(), relays.one()
    first = await admitted(a, concurrent=1)
    assert (await refused(b, concurrent=1)).code == "concurrency_exceeded"
    first.release()
    first.release()

    async def free() -> bool:
        return isinstance(await try_(b, concurrent=1), Permit)

    await become(free)
    await refused(a, concurrent=1)


async def test_a_relay_that_was_killed_keeps_no_place(
    relays: Relays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_counters, "LEASE", 1)
    monkeypatch.setattr(redis_counters, "BEATS", 0.2)
    alive, killed = relays.one(), relays.one()
    await admitted(alive, concurrent=2)
    await admitted(killed, concurrent=2)
    watch = relays.counters[1]._watch
    assert watch is not None
    watch.cancel()  # its word of what runs comes no more

    async def one_is_free() -> bool:
        return isinstance(await try_(alive, concurrent=2), Permit)

    await become(one_is_free)
    await asyncio.sleep(2.5)  # those of the relay that lives are still there
    await refused(alive, concurrent=2)


async def test_a_budget_is_one_for_all(relays: Relays) -> None:
    a, b = relays.one(), relays.one()
    a.seed("key_1", "month", 0.5)
    first = await admitted(a, cost=0.4, budget=1.0)
    error = await refused(b, cost=0.2, budget=1.0)
    assert error.code == "insufficient_quota"
    assert error.retry_after == 1.0
    assert "reserved" in error.message
    first.settle(1, 0.1)
    first.release()
    await relays.counters[0].aclose()  # what is under way arrives first
    await admitted(b, cost=0.4, budget=1.0)
    await refused(b, cost=0.01, budget=1.0)
    await admitted(b, cost=0.0, budget=1.0)


async def test_keys_expire(relays: Relays) -> None:
    permit = await admitted(relays.one(), 5, 0.1, requests_per_minute=5, tokens_per_minute=9,
                            concurrent=3, budget=1.0)  # fmt: skip
    client = RedisLink(relays.server.url)._redis
    names = sorted(await client.keys())
    assert [name.split(":")[3] for name in names] == ["held", "live", "spent", "window"]
    assert all([0 < await client.ttl(name) <= 40 * 86400 for name in names])
    permit.settle(5, 0.2)
    permit.release()

    async def settled() -> bool:
        return sorted(await client.keys()) == names[2:]

    await become(settled)
    assert await client.get(names[2]) == "200000000"
    await client.aclose()


async def test_who_is_cancelled_while_redis_is_asked_takes_nothing(relays: Relays) -> None:
    limits = relays.one()
    may = {"concurrent": 1, "budget": 1.0}
    (await admitted(limits, cost=0.1, **may)).release()
    relays.server.pause()
    task = asyncio.create_task(limits.admit(caller(**may), 1, 0.9))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task])
    relays.server.resume()

    async def free() -> bool:
        return isinstance(await try_(limits, cost=0.9, **may), Permit)

    await become(free)


async def test_without_redis_each_relay_applies_the_limits_by_itself(
    relays: Relays, caplog: pytest.LogCaptureFixture
) -> None:
    a = relays.one()
    may = {"requests_per_minute": 4, "budget": 1.0}
    for _ in range(2):
        await admitted(a, cost=0.1, **may)
    relays.server.stop()
    third = await admitted(a, cost=0.1, **may)
    assert a.trouble is not None
    assert "applies the limits by itself" in a.trouble
    fourth = await admitted(a, cost=0.1, **may)
    assert (await refused(a, cost=0.1, **may)).retry_after is not None
    assert (await refused(a, cost=0.7, **may)).code == "insufficient_quota"
    told = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(told) == 1
    third.settle(1, 0.2)
    third.release()

    relays.server.start()  # and it has forgotten all
    await spent(relays, a, "400000000")
    fourth.release()
    assert "answers again" in caplog.text
    relays.counters[0]._failed(OSError("again"))  # what was used alone is told after that
    await spent(relays, a, "500000000")
    assert (await refused(a, cost=0.51, budget=1.0)).code == "insufficient_quota"


async def test_what_was_spent_without_redis_is_told_to_it(relays: Relays) -> None:
    """Once, to one that has kept what it knew."""
    a, b = relays.one(), relays.one()
    (await admitted(a, cost=0.1, budget=1.0)).release()
    relays.counters[0]._failed(OSError("cut off"))
    for _ in range(3):
        alone = await admitted(a, cost=0.2, budget=1.0)
        alone.settle(1, 0.1)
        alone.release()

    async def told() -> bool:
        return a.trouble is None

    await become(told)
    await relays.counters[0].aclose()
    await refused(b, cost=0.61, budget=1.0)
    await admitted(b, cost=0.6, budget=1.0)


@pytest.mark.parametrize("cut", [0.1, 5.0], ids=["the connection is given up", "it is kept"])
async def test_a_redis_that_stalls_stalls_nobody(
    relays: Relays, monkeypatch: pytest.MonkeyPatch, cut: float
) -> None:
    """And what it did after all, when it goes on, counts once."""
    monkeypatch.setattr(redis_link, "TIMEOUT", 0.1)
    monkeypatch.setattr(redis_link, "REPLY", cut)
    a = relays.one()
    (await admitted(a, cost=0.1, budget=1.0)).release()
    relays.server.pause()
    begun = time.monotonic()
    slow = await admitted(a, cost=0.1, budget=1.0)
    for _ in range(10):
        (await admitted(a, cost=0.01, budget=1.0)).release()
    assert time.monotonic() - begun < 3
    assert a.trouble is not None
    slow.settle(1, 0.2)
    slow.release()
    relays.server.resume()
    await spent(relays, a, "400000000")


async def spent(relays: Relays, limits: Limits, billionths: str) -> None:
    """Redis is back, and comes to know that so much was spent."""
    client = RedisLink(relays.server.url)._redis
    found = None

    async def known() -> bool:
        nonlocal found
        found = await client.get(next(iter(await client.keys("*:spent:*")), ""))
        return limits.trouble is None and found == billionths

    try:
        await become(known)
    except TimeoutError:
        raise AssertionError(f"{found}, not {billionths}") from None
    finally:
        await client.aclose()


@pytest.mark.parametrize("seeded", [0.0, 0.25])
async def test_an_empty_redis_learns_exactly_what_was_spent(relays: Relays, seeded: float) -> None:
    """By requests that it let in, that it was asked for in vain, and that it never heard of; one
    still runs.
    """
    a = relays.one()
    a.seed("key_1", "month", seeded)
    let_in = await admitted(a, cost=0.05, budget=1.0)
    running = await admitted(a, cost=0.05, budget=1.0)
    relays.server.stop()
    in_vain = await admitted(a, cost=0.1, budget=1.0)
    unheard = [await admitted(a, cost=0.1, budget=1.0) for _ in range(3)]
    for one in (let_in, in_vain, *unheard):
        one.settle(1, 0.11)
        one.release()
    relays.server.start()
    await spent(relays, a, str(round((seeded + 5 * 0.11 + 0.05) * 1e9)))
    running.settle(1, 0.04)
    running.release()
    await admitted(a, cost=0.01, budget=1.0)


async def test_a_thousand_at_once_use_one_connection(relays: Relays) -> None:
    limits = relays.one()
    found = await asyncio.gather(*(try_(limits, requests_per_minute=700) for _ in range(1000)))
    assert sum(isinstance(one, Permit) for one in found) == 700
    client = RedisLink(relays.server.url)._redis
    assert len(await client.client_list()) <= 3
    await client.aclose()


async def test_a_redis_that_never_answered(tmp_path: Path) -> None:
    counters = RedisCounters(RedisServer(tmp_path).url)
    limits = Limits(counters)
    await admitted(limits, requests_per_minute=1)
    await refused(limits, requests_per_minute=1)
    assert limits.trouble is not None
    await limits.aclose()


async def test_the_password_is_not_told(tmp_path: Path) -> None:
    url = RedisServer(tmp_path).url.replace("127", "user:canary-secret@127")
    limits = Limits(open_counters(url))
    await admitted(limits, requests_per_minute=1)
    assert limits.trouble is not None
    assert "canary" not in limits.trouble
    assert shown(url).startswith("redis://127.0.0.1:")
    await limits.aclose()


async def test_scripts_are_loaded_again_into_a_redis_that_lost_them(relays: Relays) -> None:
    limits = relays.one()
    await admitted(limits, requests_per_minute=9)
    link = RedisLink(relays.server.url)
    await link._redis.script_flush()
    await admitted(limits, requests_per_minute=9)
    assert await link.call(BEAT, ["a", "b", "c"], [1, 1]) == 0
    await link.aclose()
    assert limits.trouble is None
