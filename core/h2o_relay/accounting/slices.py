"""Limits that the processes of one machine share: a coordinator hands them out in slices.

A worker that has a slice of a key's limits lets requests in by itself, without asking anybody, for
a quarter of a second; what it has not used then goes back. A slice is an eighth of what is free,
but never less than the request needs for which it is asked: far from the limit one question serves
many requests, near it each is asked for alone. Before it refuses, the coordinator waits for what
others may give back, so that nobody is refused what somebody else will not use.

The coordinator counts a slice as used at its end, the latest time at which a request can have been
let in by it: so no 60 seconds hold more than the limit, whatever the workers do.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final, Protocol

from .books import LocalCounters, Ticket
from .caller import Allowance, Caller, Period
from .permits import LimitReached, Standing, nanos
from .windows import SECOND, Clock

LASTS: Final = SECOND // 4  # nanoseconds for which a slice can be used
GRACE: Final = LASTS  # more, in which what is left of it may still come back
PARTS: Final = 8  # a slice is so much of what is free


@dataclass(slots=True)
class Amounts:
    """A part of a key's limits. What the key is not limited in is 0."""

    requests: int = 0
    tokens: int = 0
    running: int = 0
    cost: int = 0
    """In billionths."""


@dataclass(slots=True)
class Slice:
    """What a worker may let in by itself. Plain values: any transport will do."""

    number: int
    amounts: Amounts
    until: int
    """Nanoseconds of the machine's monotonic clock, which all its processes share."""
    standing: Standing
    """As if all of it were used."""


@dataclass(slots=True, kw_only=True)
class Back:
    """What a worker says of a slice."""

    amounts: Amounts = field(default_factory=Amounts)
    """Not used; negative for what was used beside it."""
    settled: int = 0
    """So much of the reserved money is spent now, or among `amounts`."""
    closed: bool = False
    """It lets nothing in by this slice any more."""
    last: bool = False
    """Nor does anything of it run: there is no more to say."""


class Slices(Protocol):
    """The coordinator, as workers see it."""

    async def take(self, worker: str, caller: Caller, tokens: int, cost: int) -> Slice:
        """A slice with room for one request of so many tokens, and of `cost` billionths. If the
        caller of this is cancelled, nothing stays taken.

        Raises LimitReached.
        """

    def give(self, number: int, back: Back) -> None:
        """Never waits and never raises; what is said of one slice arrives in its order."""

    def seed(self, key: str, period: Period, spent: int) -> None:
        """As for `Counters`."""


@dataclass(slots=True)
class _Lent:
    """A slice that is out."""

    key: str
    worker: str
    ticket: Ticket
    until: int
    running: int
    held: int
    closed: bool = False


class Coordinator:
    """`Slices`, counted in this process."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._counters = LocalCounters(self._clock)
        self._lent: dict[int, _Lent] = {}
        self._waiting: dict[str, asyncio.Event] = {}
        """By key: set when something of it comes back."""
        self._serial = 0

    def seed(self, key: str, period: Period, spent: int) -> None:
        self._counters.seed(key, period, spent)

    async def take(self, worker: str, caller: Caller, tokens: int, cost: int) -> Slice:
        book = self._counters.book(caller.id)
        end = self._clock.steady() + LASTS + GRACE
        while True:
            now = self._clock.steady()
            try:
                book.check(caller.allowance, tokens, cost, now)
            except LimitReached:
                if now >= end or not self._more_may_come(caller.id, now):
                    raise
            else:
                return self._cut(worker, caller, tokens, cost, now)
            await self._something_back(caller.id, (end - now) / SECOND)

    def give(self, number: int, back: Back) -> None:
        lent = self._lent.get(number)
        if lent is None:  # its worker was declared gone
            return
        self._counters.book(lent.key)  # it is remembered again: there may be more in it now
        amounts = back.amounts
        lent.running -= amounts.running
        lent.held -= back.settled
        lent.closed |= back.closed
        lent.ticket.give(amounts.requests, amounts.running)
        lent.ticket.settle(amounts.tokens, amounts.cost, back.settled, self._clock.steady())
        if back.last:
            del self._lent[number]
        waiting = self._waiting.pop(lent.key, None)
        if waiting is not None:
            waiting.set()

    def gone(self, worker: str) -> None:
        """A worker has ended without a word: nothing of it runs any more. What it had of tokens,
        requests and money stays counted: nobody knows what it has used.
        """
        for number, lent in list(self._lent.items()):
            if lent.worker == worker:
                ended = Amounts(running=lent.running)
                self.give(number, Back(amounts=ended, settled=lent.held, closed=True, last=True))

    def _cut(self, worker: str, caller: Caller, tokens: int, cost: int, now: int) -> Slice:
        """The request fits, as has been checked."""
        may, book = caller.allowance, self._counters.book(caller.id)
        budget = None if may.budget is None else nanos(may.budget)
        spent = book.budget(may.budget_period).total if budget is not None else 0
        part = Amounts(
            requests=_part(may.requests_per_minute, book.requests.used, 1),
            tokens=_part(may.tokens_per_minute, book.tokens.used, tokens),
            running=_part(may.concurrent, book.running, 1),
            cost=_part(budget, spent, cost),
        )
        until = now + LASTS
        ticket = book.take(may, part.requests, part.tokens, part.running, part.cost, until)
        self._serial += 1
        self._lent[self._serial] = _Lent(
            caller.id, worker, ticket, until, part.running, part.cost
        )  # fmt: skip
        return Slice(self._serial, part, until, book.standing(may, now))

    def _more_may_come(self, key: str, now: int) -> bool:
        """Whether somebody can still let requests of this key in, or has just been able to."""
        over = now - GRACE
        return any(
            lent.key == key and not lent.closed and lent.until > over
            for lent in self._lent.values()
        )  # fmt: skip

    async def _something_back(self, key: str, seconds: float) -> None:
        event = self._waiting.setdefault(key, asyncio.Event())
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return


def _part(limit: int | None, used: int, need: int) -> int:
    return 0 if limit is None else max(need, (limit - used) // PARTS)


def fits(may: Allowance, free: Amounts, tokens: int, cost: int) -> bool:
    """Whether one request fits into what is left of a slice."""
    return (
        (may.requests_per_minute is None or free.requests > 0)
        and (may.tokens_per_minute is None or free.tokens >= tokens)
        and (may.concurrent is None or free.running > 0)
        and (may.budget is None or free.cost >= cost)
    )
