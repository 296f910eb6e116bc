"""What is counted, and since when: the last 60 seconds, and days and months of the calendar.

A limit per minute is a sliding window: what was admitted is remembered with its time, and no 60
seconds, wherever they begin, hold more than the limit. A bucket that fills up again would admit up
to twice the limit in some 60 seconds, and a counter that begins anew each minute as well.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, get_args

from .caller import Period

SECOND: Final = 1_000_000_000  # nanoseconds, which all times of windows are in
WINDOW: Final = 60 * SECOND
CELLS: Final = 1000
"""Entries that a window keeps one by one; further ones are kept together, see `Window`."""
GRAIN: Final = WINDOW // CELLS


@dataclass(frozen=True, slots=True)
class Clock:
    """Where the time comes from; tests bring their own."""

    steady: Callable[[], int] = time.monotonic_ns
    """Nanoseconds, which no change of the machine's time moves. It is the same for all processes of
    one machine."""
    unix: Callable[[], float] = time.time


class Cell:
    """What was admitted at one time, or in one grain of it."""

    __slots__ = ("amount", "at", "first")

    def __init__(self, amount: int, at: int) -> None:
        self.amount = amount
        self.first = at
        self.at = at
        """Nanoseconds of the latest; -1 when the window has left it behind."""


class Window:
    """How much was admitted in the last 60 seconds.

    Exact up to 1,000 admissions a minute. Where there are more, those of 60 ms are kept as one and
    leave the window together, with the last of them: never more than the limit is admitted, at most
    a thousandth less, and memory stays bounded.
    """

    __slots__ = ("_cells", "used")

    def __init__(self) -> None:
        self._cells: deque[Cell] = deque()
        self.used = 0
        """As of the last `look`."""

    def look(self, now: int) -> int:
        """How much the 60 seconds before `now` hold."""
        cells, over = self._cells, now - WINDOW
        while cells and cells[0].at <= over:
            gone = cells.popleft()
            gone.at = -1
            self.used -= gone.amount
        return self.used

    def add(self, amount: int, at: int) -> Cell:
        """Count `amount` until 60 seconds after `at`, which may lie ahead (`slices.py`)."""
        cells = self._cells
        self.used += amount
        if cells:
            last = cells[-1]
            if at <= last.at or (len(cells) >= CELLS and at - last.first < GRAIN):
                last.amount += amount
                if at > last.at:
                    last.at = at
                return last
        cell = Cell(amount, at)
        cells.append(cell)
        return cell

    def give(self, cell: Cell, amount: int) -> None:
        """Take back what was counted and not used; nothing to do if the window has moved on."""
        if cell.at >= 0:
            cell.amount -= amount
            self.used -= amount

    def wait(self, amount: int, limit: int, now: int) -> int | None:
        """Nanoseconds until `amount` fits; 0 if it does now, None if it never will."""
        if amount > limit:
            return None
        over = self.look(now) + amount - limit
        if over <= 0:
            return 0
        for cell in self._cells:
            over -= cell.amount
            if over <= 0:
                return cell.at + WINDOW - now
        return WINDOW  # not reached: the cells add up to `used`

    def empty_in(self, now: int) -> int:
        """Nanoseconds until nothing is left in it."""
        return self._cells[-1].at + WINDOW - now if self.used and self._cells else 0


@dataclass(frozen=True, slots=True)
class Span:
    """A period of the calendar, in UTC; Unix times."""

    label: str
    """`2026-11-23`, `2026-11` or `total`."""
    begins: float
    ends: float


def span(period: Period, unix: float) -> Span:
    """The day or month that `unix` lies in."""
    if period == "total":
        return Span("total", -math.inf, math.inf)
    day = datetime.fromtimestamp(unix, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return Span(f"{day:%Y-%m-%d}", day.timestamp(), (day + timedelta(days=1)).timestamp())
    first = day.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return Span(f"{first:%Y-%m}", first.timestamp(), following.timestamp())


class Calendar:
    """`span`, remembered until it is over."""

    __slots__ = ("_clock", "_spans")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spans: dict[Period, Span] = {}

    def now(self, period: Period) -> Span:
        unix = self._clock.unix()
        found = self._spans.get(period)
        if found is None or not found.begins <= unix < found.ends:
            found = self._spans[period] = span(period, unix)
        return found

    def is_over(self, label: str) -> bool:
        """Whether the period of this label is not the present one."""
        return all(self.now(period).label != label for period in get_args(Period))

    def left(self, period: Period) -> float | None:
        """Seconds until the period is over; None if it never is."""
        ends = self.now(period).ends
        return None if ends == math.inf else max(0.0, ends - self._clock.unix())
