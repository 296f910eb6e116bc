"""What all workers count, added up in the coordinator's own meters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..entry import Entry
from ..gate import Gate
from .channel import Channel
from .messages import Counted, Counts, Others, Told

if TYPE_CHECKING:
    from ..meter import Meter


@dataclass(slots=True, eq=False)
class Follower:
    """A worker, as the coordinator knows it."""

    channel: Channel
    told: dict[int, Told] = field(default_factory=dict)
    said: Any = None
    """The order, pools and prices that it was told last."""
    holds: set[int] = field(default_factory=set)
    """Servers that it may have requests on."""
    inside: defaultdict[int, list[Gate]] = field(default_factory=lambda: defaultdict(list))
    """Gates that its requests are inside of, by the servers' numbers."""
    leases: dict[int, int] = field(default_factory=dict)
    queues: dict[str, int] = field(default_factory=dict)
    meters: dict[tuple[int, str], Counted] = field(default_factory=dict)
    others: Others = field(default_factory=Others)
    """What it was told of the others."""


class Sums:
    """Over all workers, which come and go in `followers`."""

    def __init__(self, followers: Mapping[str, Follower], entries: Mapping[int, Entry]) -> None:
        self._followers = followers
        self._entries = entries
        self._moved = False

    def add(self, follower: Follower, counts: Counts) -> None:
        """What one worker has counted."""
        follower.leases |= counts.leases
        follower.queues |= counts.queues
        self._moved = self._moved or bool(counts.leases or counts.queues)
        for (number, model), counted in counts.meters.items():
            entry = self._entries.get(number)
            if entry is not None:
                self._count(follower, (number, model), entry.meter(model), counted)
                if counted.requests or counted.running:
                    entry.health.used = monotonic()
        for number in counts.leases:
            self._show(number)

    def leave(self, follower: Follower) -> None:
        """It is gone: nothing of it runs, and what it has counted stays."""
        for (number, model), last in follower.meters.items():
            entry = self._entries.get(number)
            if entry is not None:
                meter = entry.meter(model)
                meter.running -= last.running
                meter.waiting -= last.waiting
        for number in follower.leases:
            self._show(number)
        self._moved = True

    def tell_others(self) -> None:
        """Tell each worker what has changed for all the others."""
        if not self._moved:
            return
        self._moved = False
        leases, queues = self._total("leases"), self._total("queues")
        for follower in self._followers.values():
            known, news = follower.others, Others()
            for number, total in leases.items():
                rest = total - follower.leases.get(number, 0)
                if known.leases.get(number, 0) != rest:
                    known.leases[number] = news.leases[number] = rest
            for name, total in queues.items():
                rest = total - follower.queues.get(name, 0)
                if known.queues.get(name, 0) != rest:
                    known.queues[name] = news.queues[name] = rest
            if news:
                follower.channel.say("others", news)

    def queued(self) -> dict[str, int]:
        """Requests that wait, by the names of pools."""
        return self._total("queues")

    def _total(self, what: str) -> dict[Any, int]:
        found: dict[Any, int] = {}
        for follower in self._followers.values():
            for key, value in getattr(follower, what).items():
                found[key] = found.get(key, 0) + value
        for follower in self._followers.values():  # those that only one that has gone had
            for key in getattr(follower.others, what):
                found.setdefault(key, 0)
        return found

    def _show(self, number: int) -> None:
        """Where a server's requests are asked for in this process, all count."""
        entry = self._entries.get(number)
        if entry is not None and entry.link is not None:
            each = (follower.leases.get(number, 0) for follower in self._followers.values())
            entry.link.others = sum(each)

    def _count(
        self, follower: Follower, key: tuple[int, str], meter: Meter, counted: Counted
    ) -> None:
        last = follower.meters.get(key) or Counted()
        meter.running += counted.running - last.running
        meter.waiting += counted.waiting - last.waiting
        meter.requests += counted.requests
        meter.failures += counted.failures
        meter.tokens += counted.tokens
        for at, interval in counted.intervals.items():
            meter.add(at, interval)
        follower.meters[key] = counted
        known = [one.meters[key].latency for one in self._followers.values() if key in one.meters]
        latencies = [latency for latency in known if latency is not None]
        if latencies:
            meter.latency = sum(latencies) / len(latencies)
