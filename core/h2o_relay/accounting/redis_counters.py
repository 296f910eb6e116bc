"""Limits that several relays share: counted in one Redis, by a script, in one step for all of them.

Beside that each relay keeps its own book, of what Redis has let in through it. While Redis does not
answer, that book decides alone: limits go on to hold for each relay by itself, and the operator is
told. Needs Redis 5 or newer, or Valkey. Keys, `ID` being the key's: `h2o:limits:{ID}:window` (hash:
what was admitted in which second), `:live` (sorted set: requests that run, by when their relay last
said so), `:held` (hash: what was estimated for them), `:spent:PERIOD` (billionths) and
`:once:REQUEST`. All of them expire.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Coroutine
from typing import Any, Final

from .books import BookPermit, LocalCounters
from .caller import Caller, Period
from .permits import Permit, Standing, nanos
from .redis_answers import Answer, keys, refusal, standing
from .redis_ledger import Bill, Ledger
from .redis_link import ADMIT, BEAT, FAILURES, LEAVE, SETTLE, RedisLink, shown, soon
from .windows import Clock

BEATS: Final = 10.0  # seconds between two words of the requests that run
LEASE: Final = 30  # seconds without one after which a request takes no place any more
PATIENCE: Final = 600  # seconds after which what it reserved is not given back any more
LOOK: Final = 1.0  # seconds between looks at a Redis that does not answer ...
LONGEST_LOOK: Final = 30.0  # ... and at one that fails again and again
log = logging.getLogger(__name__)


class RedisCounters:
    """`Counters` in a Redis. Used on one event loop."""

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        """Connects when it is first used. Raises SettingError for a URL that cannot be read."""
        self.trouble: str | None = None
        """Why each relay applies the limits by itself; None while they are shared."""
        self._link = RedisLink(url)
        self._shown = shown(url)
        self._local = LocalCounters(clock)
        self._running: dict[str, RedisPermit] = {}
        """Those that Redis knows, or may know, by their names there."""
        self._ledger = Ledger()
        self._watch: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Task[None]] = set()
        self._name = os.urandom(6).hex()
        self._serial = 0

    async def admit(self, caller: Caller, tokens: int, cost: int) -> Permit:
        """Raises LimitReached. Waits no longer than 100 ms for Redis."""
        if self._watch is None:
            self._watch = asyncio.create_task(self._look_after())
        bill = self._bill(caller)
        if self.trouble is not None:
            known = self._alone(bill, caller, tokens, cost)
            return RedisPermit(self, known.standing, known, bill, "", None)
        name = self._new_name()
        answer = self._ask(name, bill, caller, tokens, cost)
        try:
            said = Answer(*await soon(answer))
            where = self._read(caller, tokens, cost, said)
            known = self._local.count(caller, tokens, cost)
        except FAILURES as error:
            self._failed(error)
            try:
                known = self._alone(bill, caller, tokens, cost)
            except BaseException:
                self._tell(self._take_back(name, bill, answer))
                raise
            where = known.standing
        except asyncio.CancelledError:
            # Redis may let it in all the same: it is given back when that is known.
            self._tell(self._take_back(name, bill, answer))
            raise
        permit = self._running[name] = RedisPermit(self, where, known, bill, name, answer)
        return permit

    def _alone(self, bill: Bill, caller: Caller, tokens: int, cost: int) -> BookPermit:
        """What this relay's own book says. Raises LimitReached."""
        known = self._local.take(caller, tokens, cost)
        self._ledger.alone(bill, cost)
        return known

    def seed(self, key: str, period: Period, spent: int) -> None:
        """Redis takes it where it knows nothing of that budget, with the next request."""
        self._local.seed(key, period, spent)

    async def aclose(self) -> None:
        """Tells what is left, for two seconds at most."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        with contextlib.suppress(*FAILURES):
            async with asyncio.timeout(LEAVE):
                while self._telling:
                    await asyncio.wait(set(self._telling))
                await self._pay()
        if self._telling or not self._ledger.settled:
            log.warning("limits: Redis (%s) could not be told of all that was used", self._shown)
        for task in self._telling:
            task.cancel()
        await self._link.aclose()

    # Asking

    def _ask(
        self, name: str, bill: Bill, caller: Caller, tokens: int, cost: int
    ) -> asyncio.Future[Any]:
        may = caller.allowance
        limits = (may.requests_per_minute, may.tokens_per_minute, may.concurrent)
        budget = -1 if may.budget is None else nanos(may.budget)
        values: list[str | int] = [
            name, *(-1 if limit is None else limit for limit in limits), budget, tokens, cost,
            max(0, self._known(bill)), bill.label, LEASE, PATIENCE, bill.keep,
        ]  # fmt: skip
        return self._link.call(ADMIT, keys(bill.key, bill.label), values)

    def _read(self, caller: Caller, tokens: int, cost: int, said: Answer) -> Standing:
        """Raises LimitReached where Redis has not let it in."""
        may = caller.allowance
        if may.budget is not None:
            budget = self._local.book(caller.id).budget(may.budget_period)
            mine = budget.taken + (cost if said.admitted else 0)
            budget.others = max(0, said.taken - mine)
        if not said.admitted:
            raise refusal(may, tokens, cost, said, self._local.left(may.budget_period))
        return standing(may, said)

    # Telling

    def over(self, permit: RedisPermit, tokens: int | None, cost: int) -> None:
        """A request has ended; Redis is told when there is time."""
        bill, answer = permit.bill, permit.answer
        if permit.alone:
            self._ledger.alone(bill, cost - permit.estimate)
        if answer is None:
            self._ledger.owe(bill, cost)
            return
        del self._running[permit.name]
        self._tell(self._settle_one(permit, answer, tokens, cost))

    async def _settle_one(
        self, permit: RedisPermit, answer: asyncio.Future[Any], tokens: int | None, cost: int
    ) -> None:
        await self._settle(permit.name, permit.bill, answer, tokens, cost)
        if permit.alone:
            self._ledger.told(permit.bill, cost)

    async def _take_back(self, name: str, bill: Bill, answer: asyncio.Future[Any]) -> None:
        """As if it had not been, if Redis has let it in after all."""
        await asyncio.wait([answer])
        if answer.exception() is not None or answer.result()[0]:
            await self._settle(name, bill, answer, 0, 0)

    async def _settle(
        self, name: str, bill: Bill, answer: asyncio.Future[Any], tokens: int | None, cost: int
    ) -> None:
        """Again and again, until Redis has heard it."""
        await asyncio.wait([answer])
        let_in = answer.exception() is None and answer.result()[0]
        while True:
            try:
                await self._report(name, bill, -1 if tokens is None else tokens, cost, let_in)
            except FAILURES as error:
                self._failed(error)
                await asyncio.sleep(LOOK)
            else:
                return

    def _report(
        self, name: str, bill: Bill, tokens: int, cost: int, let_in: bool
    ) -> asyncio.Future[Any]:
        alone = 0 if let_in else 1
        values: list[str | int] = [name, tokens, cost, alone, bill.keep, self._known(bill)]
        return self._link.call(SETTLE, keys(bill.key, bill.label, name), values)

    async def _pay(self) -> None:
        """Tell what was spent alone. Raises one of `FAILURES`, and may be called again then."""
        self._ledger.due(self._new_name())
        for name, (bill, cost) in list(self._ledger.paying.items()):
            await self._report(name, bill, -1, cost, let_in=False)
            self._ledger.paid(name)

    def _tell(self, telling: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(telling)
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    # Looking after

    async def _look_after(self) -> None:
        """Looks come more and more slowly at a Redis that fails, until it was well for a while."""
        wait, well = LOOK, 0.0
        while True:
            await asyncio.sleep(wait)
            try:
                if self.trouble is not None:
                    wait, well = min(2 * wait, LONGEST_LOOK), 0.0
                    await self._come_back()
                    continue
                well += wait
                wait = min(wait, BEATS)
                if well >= BEATS:
                    wait, well = LOOK, 0.0
                    await self._beat()
            except FAILURES as error:
                self._failed(error)
            except Exception:
                log.exception("limits: Redis (%s) could not be looked after", self._shown)

    async def _come_back(self) -> None:
        if not await self._link.alive():
            return
        await self._pay()
        await self._beat()
        self.trouble = None
        log.warning("limits: Redis (%s) answers again: the limits are shared", self._shown)

    async def _beat(self) -> None:
        """The requests that run are still there."""
        by_bill: dict[Bill, list[str]] = {}
        for name, permit in self._running.items():
            by_bill.setdefault(permit.bill, []).append(name)
        for bill, names in by_bill.items():
            values: list[str | int] = [2 * PATIENCE, bill.keep, *names]
            await self._link.call(BEAT, keys(bill.key, bill.label)[1:], values)

    def _failed(self, error: BaseException) -> None:
        if self.trouble is None:
            reason = str(error).rstrip(".") or "it takes too long to answer"
            self.trouble = (
                f"Redis ({self._shown}) cannot be used: {reason}. Until it can, every relay "
                "applies the limits by itself"
            )
            log.warning("limits: %s", self.trouble)

    def _bill(self, caller: Caller) -> Bill:
        period, counted = caller.allowance.budget_period, caller.allowance.budget is not None
        return Bill(caller.id, period, self._local.label(period), counted)

    def _known(self, bill: Bill) -> int:
        """What Redis should know to be spent, for one that has lost it; -1 without a budget."""
        if not bill.counted:
            return -1
        return max(0, self._local.book(bill.key).spent(bill.label) - self._ledger.untold(bill))

    def _new_name(self) -> str:
        self._serial += 1
        return f"{self._name}-{self._serial}"


class RedisPermit(Permit):
    """One that Redis has let in, or this relay alone while Redis is away."""

    __slots__ = ("_cost", "_counters", "_known", "_tokens", "answer", "bill", "estimate", "name")

    def __init__(
        self, counters: RedisCounters, standing: Standing, known: BookPermit, bill: Bill,
        name: str, answer: asyncio.Future[Any] | None,
    ) -> None:  # fmt: skip
        super().__init__(standing)
        self._counters = counters
        self._known = known
        self.bill = bill
        self.name = name
        self.answer = answer
        """What Redis said or will say, if it was asked."""
        self._tokens: int | None = None
        self.estimate = self._cost = known.estimate

    @property
    def alone(self) -> bool:
        """It was let in by this relay's own book, whatever Redis said later."""
        return self._known.standing is self.standing

    def _settle(self, tokens: int | None, cost: int | None) -> None:
        self._tokens = tokens
        self._cost = self._cost if cost is None else cost
        self._known.settle_nanos(tokens, cost)

    def _release(self) -> None:
        self._known.release()
        self._counters.over(self, self._tokens, self._cost)
