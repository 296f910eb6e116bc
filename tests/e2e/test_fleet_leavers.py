"""Thousands of requests, a third of whose clients leave: no server works on for nobody, and the
relay holds nothing afterwards that it did not hold before.

The relay is a process of its own. It is looked at twice, after `WARM_UP` requests of the same kinds
and after all others: its tasks, its file descriptors, and its memory from /proc, after full garbage
collections and once its idle connections to servers were closed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from h2o_relay.testing.bench import Bench
from h2o_relay.testing.upstream import Received, until

from ..proxy.raw_client import Client
from .fleet_kit import (
    LATE,
    Lag,
    Relay,
    chat,
    entry,
    grown,
    hang_up,
    intact,
    needs_linux,
    post,
    serving,
)

pytestmark = [pytest.mark.e2e, needs_linux]
WARM_UP = 2000
AT_ONCE = 50
FREED = 1.0  # seconds after which no server works for a client that has left
GROWTH = 0.05  # of the memory
MODELS = {"short": "ok@tokens=3", "long": "ok@tokens=1000~delay=20", "late": "ok@first=20000"}
TOKENS = 3  # of `short`; the others end long after their clients have left
LEAVING = ("in the request", "before the head", "after the head", "in the stream")
SIZES = [
    pytest.param(3_000, marks=pytest.mark.timeout(180)),
    pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
]


@dataclass
class Crowd:
    """Clients that stay, and a third that leave; `left` is when, by the request's `user`."""

    running: Relay
    rng: random.Random
    left: dict[str, float] = field(default_factory=dict)
    sent: int = 0

    async def ask(self, count: int) -> None:
        """So many requests, `AT_ONCE` at a time."""
        numbers = iter(range(count))

        async def worker() -> None:
            client = await self.running.connect()
            for number in numbers:
                if number % 3:
                    await self.stays(client)
                else:
                    await self.leaves(client)
                    client = await self.running.connect()
            await client.close()

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(worker())

    def request(self, kind: str, streamed: bool) -> tuple[str, bytes]:
        self.sent += 1
        user = f"user-{self.sent}"
        place = self.rng.choice(("alone", "pool"))
        return user, post(chat(streamed, model=f"{kind}-{place}", user=user))

    async def stays(self, client: Client) -> None:
        streamed = self.rng.random() < 0.5
        _, data = self.request("short", streamed)
        await client.send(data)
        intact(await client.reply(30), streamed, TOKENS)

    async def leaves(self, client: Client) -> None:
        where, rng = self.rng.choice(LEAVING), self.rng
        streamed = where in LEAVING[2:] or rng.random() < 0.5
        user, data = self.request("late" if where == LEAVING[1] else "long", streamed)
        await client.send(data[: rng.randrange(1, len(data))] if where == LEAVING[0] else data)
        if streamed and where in LEAVING[2:]:
            assert (await client.head()).status == 200
        if where == LEAVING[3]:
            assert await client.piece()
        await asyncio.sleep(rng.random() * 0.2)
        self.left[user] = asyncio.get_running_loop().time()
        if rng.random() < 0.5:
            client.reset()
        await client.close()


def configured(benches: Sequence[Bench]) -> dict[str, Any]:
    """Each model alone, as `short-alone`, and in a pool of the two servers, as `short-pool`."""
    models, pools = [], {}
    for name, model in MODELS.items():
        members = [f"{name}-alone", f"{name}-other"]
        models += [entry(m, b.url, model) for m, b in zip(members, benches, strict=True)]
        pools[f"{name}-pool"] = {"members": members}
    return {"models": models, "pools": pools}


@pytest.mark.parametrize("count", SIZES)
async def test_nothing_is_left_of_those_who_leave(count: int, tmp_path: Path) -> None:
    also = list(MODELS.values())
    async with (
        Bench(also=also) as one,
        Bench(also=also) as two,
        Lag() as lag,
        serving(tmp_path, configured([one, two])) as running,
    ):
        benches = [one, two]
        crowd = Crowd(running, random.Random(count))
        await crowd.ask(WARM_UP)
        before = await at_rest(running, benches)
        for bench in benches:
            bench.forget()
        crowd.left.clear()
        await crowd.ask(count)
        await until(lambda: not any(b.answering for b in benches), within=FREED + lag.worst)
        took = sorted(seconds(crowd, benches))
        after = await at_rest(running, benches)
        late = time.monotonic() + LATE
        while grown(before, after) and time.monotonic() < late:
            after = await at_rest(running, benches)  # what is leaking stays
        median = took[len(took) // 2]
        print(f"{count}: {len(crowd.left)} left, {len(took)} of them while a server answered;")
        print(f"it went on for {median:.3f} s, {took[-1]:.3f} s at most; lag {lag.worst:.3f} s")
        print(f"before {before}, after {after}")
        assert len(crowd.left) >= count // 3
        assert len(took) > count // 5
        assert took[-1] < FREED + lag.worst
        assert unanswered(crowd, benches) == []
        assert not grown(before, after), (before, after)
        assert after["rss"] <= before["rss"] * (1 + GROWTH), (before, after)
    assert "Traceback" not in running.output


def asked(benches: Sequence[Bench]) -> list[Received]:
    return [r for bench in benches for r in bench.requests if r.method == "POST"]


def seconds(crowd: Crowd, benches: Sequence[Bench]) -> list[float]:
    """How long servers worked on after their clients had left."""
    gone = [(r.left_at, r.json()["user"]) for r in asked(benches)]
    return [at - crowd.left[user] for at, user in gone if at is not None]


def unanswered(crowd: Crowd, benches: Sequence[Bench]) -> list[str]:
    """Those who left, and whose servers nobody told."""
    users = [r.json()["user"] for r in asked(benches) if r.left_at is None]
    return [user for user in users if user in crowd.left]


async def at_rest(running: Relay, benches: Sequence[Bench]) -> dict[str, int]:
    await running.says("are kept in", within=60)  # the store has its files
    await hang_up(benches)
    await asyncio.sleep(0.5)  # for what clients have closed
    return await running.holds()
