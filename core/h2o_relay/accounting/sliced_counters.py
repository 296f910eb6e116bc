"""A worker's side of `slices.py`: letting requests in by the slice that it has."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final
from weakref import WeakValueDictionary

from ..errors import Overloaded
from .caller import Allowance, Caller, Period
from .permits import SOON, Permit, Standing
from .slices import Amounts, Back, Slice, Slices, fits
from .windows import SECOND, Clock

TRIES: Final = 8  # slices that arrive too late to be used
LATE: Final = 0.01  # seconds: a timer may be early by the grain of its clock
TOGETHER: Final = (
    0.01  # seconds for which what requests have not used is gathered before it is told
)


class SlicedCounters:
    """`Counters` of one worker."""

    trouble: str | None = None

    def __init__(self, worker: str, slices: Slices, clock: Clock | None = None) -> None:
        """`worker` is its name for the coordinator."""
        self._worker = worker
        self._slices = slices
        self._clock = clock or Clock()
        self._parts: dict[str, _Part] = {}
        self._asking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By key; there while somebody asks."""
        self._owing: set[_Part] = set()
        """What came of these is not told yet."""

    async def admit(self, caller: Caller, tokens: int, cost: int) -> Permit:
        """Raises LimitReached; Overloaded if the coordinator is too slow."""
        permit = self._by_itself(caller, tokens, cost)
        if permit is not None:
            return permit
        async with self._asking.setdefault(caller.id, asyncio.Lock()):
            for _ in range(TRIES):
                permit = self._by_itself(caller, tokens, cost)
                if permit is not None:
                    return permit
                self._close(caller.id)
                found = await self._slices.take(self._worker, caller, tokens, cost)
                self._parts[caller.id] = _Part(
                    self, self._slices, caller.allowance, found, self._clock
                )
                left = (found.until - self._clock.steady()) / SECOND
                asyncio.get_running_loop().call_later(max(0.0, left) + LATE, self.sweep)
        raise Overloaded("The relay is too busy to count this request.", retry_after=SOON)

    def seed(self, key: str, period: Period, spent: int) -> None:
        self._slices.seed(key, period, spent)

    def sweep(self) -> None:
        """Give back what is left of slices that are over."""
        now = self._clock.steady()
        for key, part in list(self._parts.items()):
            if part.until <= now:
                self._close(key)

    async def aclose(self) -> None:
        """Give everything back."""
        for key in list(self._parts):
            self._close(key)
        self._tell()

    def owe(self, part: _Part) -> None:
        """Tell in a moment what came of it, together with what follows until then."""
        if not self._owing:
            asyncio.get_running_loop().call_later(TOGETHER, self._tell)
        self._owing.add(part)

    def _tell(self) -> None:
        owing, self._owing = self._owing, set()
        for part in owing:
            part.tell()

    def _by_itself(self, caller: Caller, tokens: int, cost: int) -> Permit | None:
        part = self._parts.get(caller.id)
        if part is None or not part.has_room(caller.allowance, tokens, cost):
            return None
        permit = part.let_in(tokens, cost)
        if part.used_up:
            self._close(caller.id)
        return permit

    def _close(self, key: str) -> None:
        part = self._parts.pop(key, None)
        if part is not None:
            part.close()


class _Part:
    """What is left of a slice."""

    __slots__ = (
        "_clock", "_counters", "_free", "_may", "_open", "_owed", "_running", "_slice", "_slices",
        "until",
    )  # fmt: skip

    def __init__(
        self, counters: SlicedCounters, slices: Slices, may: Allowance, found: Slice, clock: Clock
    ) -> None:
        self._counters = counters
        self._slices = slices
        self._may = may
        self._owed = Back()
        """What is to be told."""
        self._slice = found
        self._free = replace(found.amounts)
        self._clock = clock
        self._running = 0
        self._open = True
        self.until = found.until

    def has_room(self, may: Allowance, tokens: int, cost: int) -> bool:
        """Not if the key's limits have changed meanwhile."""
        return (
            self._clock.steady() < self.until
            and (may is self._may or may == self._may)
            and fits(may, self._free, tokens, cost)
        )

    @property
    def used_up(self) -> bool:
        may, free = self._may, self._free
        return (
            (may.requests_per_minute is not None and free.requests <= 0)
            or (may.tokens_per_minute is not None and free.tokens <= 0)
            or (may.concurrent is not None and free.running <= 0)
            or (may.budget is not None and free.cost <= 0)
        )

    def let_in(self, tokens: int, cost: int) -> Permit:
        may, free = self._may, self._free
        free.requests -= may.requests_per_minute is not None
        free.tokens -= tokens if may.tokens_per_minute is not None else 0
        free.running -= may.concurrent is not None
        free.cost -= cost if may.budget is not None else 0
        self._running += 1
        said = self._slice.standing
        standing = replace(
            said, requests=said.requests - free.requests, tokens=said.tokens - free.tokens
        )
        return _SlicedPermit(standing, self, tokens, cost)

    def close(self) -> None:
        """Nothing more is let in; what is left goes back at once, the rest as requests end."""
        self._open = False
        free, self._free = self._free, Amounts()
        owed = self._owed
        owed.amounts.requests += free.requests
        owed.amounts.tokens += free.tokens
        owed.amounts.running += free.running
        owed.amounts.cost += free.cost
        owed.settled += free.cost
        owed.closed, owed.last = True, not self._running
        self.tell()

    def settle(self, tokens: int, cost: int, held: int) -> None:
        """Tokens and money that a request has not used; if negative, has used beside."""
        owed = self._owed
        owed.amounts.tokens += tokens
        if self._may.budget is not None:
            owed.amounts.cost += cost
            owed.settled += held
        if self._open:
            self._counters.owe(self)
        else:
            self.tell()

    def ended(self) -> None:
        """A request has."""
        self._running -= 1
        counted = self._may.concurrent is not None
        if self._open:
            self._free.running += counted
        else:
            self._owed.amounts.running += counted
            self._owed.last = not self._running
            self.tell()

    def tell(self) -> None:
        """Tell what has come of it since the last time."""
        owed, self._owed = self._owed, Back()
        if owed != Back():
            self._slices.give(self._slice.number, owed)


class _SlicedPermit(Permit):
    __slots__ = ("_cost", "_part", "_tokens")

    def __init__(self, standing: Standing, part: _Part, tokens: int, cost: int) -> None:
        super().__init__(standing)
        self._part = part
        self._tokens = tokens
        self._cost = cost

    def _settle(self, tokens: int | None, cost: int | None) -> None:
        unused = 0 if tokens is None else self._tokens - tokens
        unspent = 0 if cost is None else self._cost - cost
        self._part.settle(unused, unspent, self._cost)

    def _release(self) -> None:
        self._part.ended()
