"""What requests do in one worker's kernel, told by what has changed since the last time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from time import monotonic

from ..entry import Entry
from ..meter import Interval, Meter
from ..pooling import Pool
from .messages import Counted, Counts


class Counter:
    """Remembers what it has told."""

    def __init__(self) -> None:
        self._leases: dict[int, int] = {}
        self._queues: dict[str, int] = {}
        self._meters: dict[tuple[int, str], _Meter] = {}

    def counts(self, entries: Mapping[int, Entry], pools: Iterable[Pool]) -> Counts:
        """What has changed."""
        counts, now = Counts(), monotonic()
        for number, entry in entries.items():
            running = entry.link.leases if entry.link is not None else 0
            if self._leases.get(number, 0) != running:
                self._leases[number] = counts.leases[number] = running
            for model, meter in entry.meters.items():
                known = self._meters.get((number, model))
                if known is None:
                    known = self._meters[number, model] = _Meter()
                counted = known.changed(meter, now)
                if counted is not None:
                    counts.meters[number, model] = counted
        for pool in pools:
            if self._queues.get(pool.name, 0) != pool.own_waiting:
                self._queues[pool.name] = counts.queues[pool.name] = pool.own_waiting
            counts.places += [(pool.name, key, member) for key, member in pool.moved()]
        return counts

    def forget(self, number: int) -> None:
        """An entry has left."""
        self._leases.pop(number, None)
        for key in [key for key in self._meters if key[0] == number]:
            del self._meters[key]


class _Meter:
    """What was told of a meter."""

    __slots__ = ("_intervals", "_said", "_sums")

    def __init__(self) -> None:
        self._said: tuple[int, int, float | None] = (0, 0, None)
        self._sums = (0, 0, 0)
        self._intervals: dict[int, Interval] = {}

    def changed(self, meter: Meter, now: float) -> Counted | None:
        said = (meter.running, meter.waiting, meter.latency)
        sums = (meter.requests, meter.failures, meter.tokens)
        if said == self._said and sums == self._sums:
            return None
        new = [now - before for now, before in zip(sums, self._sums, strict=True)]
        self._said, self._sums = said, sums
        return Counted(
            running=meter.running, waiting=meter.waiting, latency=meter.latency,
            requests=new[0], failures=new[1], tokens=new[2], intervals=self._of(meter.recent(now)),
        )  # fmt: skip

    def _of(self, recent: Mapping[int, Interval]) -> dict[int, Interval]:
        """What was counted in intervals since they were last told."""
        found = {}
        for at, interval in recent.items():
            before = self._intervals.get(at, NOTHING)
            if interval != before:
                found[at] = Interval(
                    interval.requests - before.requests, interval.tokens - before.tokens,
                    interval.waits - before.waits, interval.firsts - before.firsts,
                )  # fmt: skip
        self._intervals = {at: replace(interval) for at, interval in recent.items()}
        return found


NOTHING = Interval()
