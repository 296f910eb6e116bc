"""What a model has to do and how it does: counters that requests touch, read by whoever shows them.

Numbers only, no clock of its own: whoever counts hands in the time of `time.monotonic()`.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

INTERVAL = 5.0  # seconds
INTERVALS = 120  # ten minutes
WEIGHT = 0.2  # of the latest answer in the moving average
USAGE = b'"completion_tokens":'
EMPTY = re.compile(rb'"content": ?(?:""|null)')


@dataclass(slots=True)
class Interval:
    requests: int = 0
    tokens: int = 0
    waits: float = 0.0
    """Seconds to the first token, added up over `firsts` answers."""
    firsts: int = 0


class Meter:
    """One model's counters."""

    __slots__ = (
        "_newest",
        "_ring",
        "_until",
        "failures",
        "latency",
        "requests",
        "running",
        "tokens",
        "waiting",
    )

    def __init__(self) -> None:
        self.running = 0
        self.waiting = 0
        """For their turn, where the operator limits how many run."""
        self.requests = 0
        self.failures = 0
        """Answers that ended by a fault of the server's or ours, not of the caller's."""
        self.tokens = 0
        self.latency: float | None = None
        """Seconds to the first token, a moving average."""
        self._ring: dict[int, Interval] = {}
        self._newest, self._until = Interval(), 0.0  # the one that answers end in, until when

    def first(self, started: float, now: float) -> None:
        """The first piece of a streamed answer is there."""
        seconds = now - started
        latency = self.latency
        self.latency = seconds if latency is None else latency + WEIGHT * (seconds - latency)
        interval = self._interval(now)
        interval.waits += seconds
        interval.firsts += 1

    def ended(self, tokens: int, failed: bool, now: float) -> None:
        """An answer is over, whole or not."""
        self.requests += 1
        self.failures += failed
        self.tokens += tokens
        if now >= self._until:
            self._newest = self._interval(now)
            self._until = (int(now / INTERVAL) + 1) * INTERVAL
        interval = self._newest
        interval.requests += 1
        interval.tokens += tokens

    def _interval(self, now: float) -> Interval:
        at = int(now / INTERVAL)
        found = self._ring.get(at)
        if found is None:
            found = self._ring[at] = Interval()
            if len(self._ring) > INTERVALS:
                oldest = at - INTERVALS
                self._ring = {k: v for k, v in self._ring.items() if k > oldest}
        return found

    def recent(self, now: float) -> dict[int, Interval]:
        """The intervals that may still be counted in, by their numbers, which are the same for all
        processes of a machine.
        """
        at = int(now / INTERVAL)
        return {k: self._ring[k] for k in (at - 1, at) if k in self._ring}

    def add(self, at: int, counted: Interval) -> None:
        """Count in interval number `at` what another process has counted there beside."""
        interval = self._interval(at * INTERVAL)
        interval.requests += counted.requests
        interval.tokens += counted.tokens
        interval.waits += counted.waits
        interval.firsts += counted.firsts

    def history(self, now: float | None = None) -> list[Interval]:
        """The last `INTERVALS` intervals, the oldest first; the last one is not over yet."""
        at = int((time.monotonic() if now is None else now) / INTERVAL)
        return [self._ring.get(k, Interval()) for k in range(at - INTERVALS + 1, at + 1)]


def says(raw: bytes) -> bool:
    """Whether a piece of an answer brings something: many servers begin with an event that names
    the role alone.
    """
    if b'"role"' not in raw or raw.count(b"\n\n") > 1:
        return True
    return b'"content"' in raw and EMPTY.search(raw) is None


def counted(raw: bytes) -> int | None:
    """The completion's tokens that an answer's last bytes tell, without decoding them; None where
    they tell none.
    """
    at = raw.rfind(USAGE)
    if at < 0:
        return None
    start = at + len(USAGE)
    digits = raw[start : start + 20].lstrip(b" ")
    end = 0
    while end < len(digits) and 48 <= digits[end] <= 57:
        end += 1
    return int(digits[:end]) if end else None
