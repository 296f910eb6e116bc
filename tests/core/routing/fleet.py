"""A fleet of servers in virtual time: what routing does to the time to the first token.

Each server works on `slots` requests at a time, in the order in which they come, and lets the rest
wait. Requests are a prompt and an answer, both of random length; servers differ in speed. Nothing
here knows how the relay chooses: it is handed a function that picks one.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

SERVERS = 8
SPREAD = 3.0  # the fastest is so many times as fast as the slowest
SLOTS = 4
PROMPT, ANSWER = 0.3, 3.0  # mean seconds at speed 1
SIGMA = 0.8  # of their logarithms: the longest in a hundred is five times the mean
WEIGHT = 0.2  # of the latest answer in a member's latency, as in the relay's meter


@dataclass(eq=False)
class Server:
    name: str
    speed: float
    slots: list[float]
    """When each is free."""
    running: int = 0
    """Running and waiting, of everybody."""
    told: int | None = None
    most: int = 0
    count: int = 0

    def wait(self) -> float:
        """Expected seconds until a slot is free, from the queue's length and the speed."""
        over = max(0, self.running - len(self.slots) + 1)
        return over * (PROMPT + ANSWER) / self.speed / len(self.slots)


@dataclass(eq=False)
class Member:
    """A server as one relay sees it (`routing.Candidate`)."""

    server: Server
    name: str
    usable: bool = True
    degraded: bool = False
    in_flight: int = 0
    limit: int | None = None
    latency: float | None = None
    loaded: bool | None = None
    reported: float | None = None
    reported_at_in_flight: int = 0

    def first(self, seconds: float) -> None:
        old = self.latency
        self.latency = seconds if old is None else old + WEIGHT * (seconds - old)


Pick = Callable[[Sequence[Member], int | None], Member]


@dataclass
class Run:
    """What came of it."""

    waits: list[float] = field(default_factory=list)
    """Seconds to the first token, of every request after the first tenth."""
    servers: list[Server] = field(default_factory=list)
    stayed: int = 0
    """Turns answered by the server that answered the conversation's turn before."""
    moved: int = 0

    def p95(self) -> float:
        return sorted(self.waits)[int(len(self.waits) * 0.95)]

    def mean(self) -> float:
        return sum(self.waits) / len(self.waits)


def simulate(
    picks: Sequence[Pick],
    seed: int,
    *,
    requests: int = 6000,
    load: float = 0.7,
    spread: float = SPREAD,
    slots: int = SLOTS,
    report: float | None = None,
    turns: int = 1,
) -> Run:
    """Requests at `load` of what the fleet can do, from one relay for each of `picks`, all of
    which see the same servers. `report`: seconds between the servers' reports. `turns`: of each
    conversation; the next one comes a moment after the answer to the one before.
    """
    fleet = _Fleet(picks, seed, spread, slots, turns)
    rate = load * sum(server.speed for server in fleet.servers) * slots / (PROMPT + ANSWER)
    fleet.run(requests, rate / turns, report)
    return fleet.result


class _Fleet:
    def __init__(
        self, picks: Sequence[Pick], seed: int, spread: float, slots: int, turns: int
    ) -> None:
        self.rng = random.Random(seed)
        step = (spread - 1) / (SERVERS - 1)
        self.servers = [Server(f"server-{n}", 1 + n * step, [0.0] * slots) for n in range(SERVERS)]
        self.relays = [(pick, [Member(s, s.name) for s in self.servers]) for pick in picks]
        self.turns = turns
        self.result = Run(servers=self.servers)
        self.events: list[tuple[float, int, Callable[[float], None]]] = []
        self.order = count()
        self.left = self.skip = 0

    def at(self, time: float, what: Callable[[float], None]) -> None:
        heapq.heappush(self.events, (time, next(self.order), what))

    def run(self, requests: int, rate: float, report: float | None) -> None:
        self.left, self.skip = requests, requests // 10

        def arrive(now: float) -> None:
            self.at(now + self.rng.expovariate(rate), arrive)
            key = self.rng.getrandbits(64) if self.turns > 1 else None
            self.turn(now, key, self.turns, None, self.rng.randrange(len(self.relays)))

        def tell(now: float) -> None:
            assert report is not None
            self.at(now + report, tell)
            for _, members in self.relays:
                for member in members:
                    member.reported = member.server.running
                    member.reported_at_in_flight = member.in_flight

        self.at(0.0, arrive)
        if report is not None:
            self.at(0.0, tell)
        while self.left > 0:
            now, _, what = heapq.heappop(self.events)
            what(now)

    def length(self, mean: float) -> float:
        return mean * math.exp(self.rng.gauss(0, SIGMA) - SIGMA * SIGMA / 2)

    def turn(
        self, now: float, key: int | None, turns: int, before: Server | None, relay: int
    ) -> None:
        """One request, from its coming to its end."""
        self.left -= 1
        pick, members = self.relays[relay]
        member = pick(members, key)
        server = member.server
        slot = min(range(len(server.slots)), key=server.slots.__getitem__)
        first = max(now, server.slots[slot]) + self.length(PROMPT) / server.speed
        end = server.slots[slot] = first + self.length(ANSWER) / server.speed
        server.running += 1
        server.count += 1
        server.most = max(server.most, server.running)
        member.in_flight += 1
        if self.left < 9 * self.skip:
            self.result.waits.append(first - now)
            self.result.stayed += before is server
            self.result.moved += before is not None and before is not server

        def over(now: float) -> None:
            server.running -= 1
            member.in_flight -= 1
            if turns > 1:
                pause = self.rng.expovariate(1 / 2.0)
                self.at(now + pause, lambda t: self.turn(t, key, turns - 1, server, relay))

        self.at(first, lambda _: member.first(first - now))
        self.at(end, over)


# Whom the strategies are compared with.


def oracle(members: Sequence[Member], key: int | None) -> Member:
    """Knows every queue and every speed: the least expected time to the first token."""
    return min(members, key=lambda m: m.server.wait() + PROMPT / m.server.speed)


def shortest_wait(members: Sequence[Member], key: int | None) -> Member:
    """Knows as much, and goes by the wait alone."""
    return min(members, key=lambda m: m.server.wait())


def in_turn() -> Pick:
    """Round robin."""
    numbers = count()
    return lambda members, key: members[next(numbers) % len(members)]


def two_at_random(seed: int) -> Pick:
    """The power of two choices, as the book has it."""
    rng = random.Random(seed)

    def pick(members: Sequence[Member], key: int | None) -> Member:
        return min(rng.sample(list(members), 2), key=lambda m: m.in_flight)

    return pick


def by(router: Any) -> Pick:
    """What a relay's router chooses."""

    def pick(members: Sequence[Member], key: int | None) -> Member:
        chosen = router.choose(members, key)
        assert chosen is not None
        assert isinstance(chosen.member, Member)
        return chosen.member

    return pick
