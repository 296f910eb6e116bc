"""One key's counters: what it takes of its limits, and what it gives back."""

from __future__ import annotations

from itertools import islice
from weakref import WeakValueDictionary

from .caller import Allowance, Caller, Period
from .permits import Permit, Standing, too_dear, too_fast, too_many, whole
from .windows import WINDOW, Calendar, Cell, Clock, Window

KEPT = 8  # periods whose spending is remembered, for requests that run across midnight
LOOKS = 2  # books that are looked at for each new one, whether they can be forgotten


class Budget:
    """What was spent in one period of the calendar, in billionths."""

    __slots__ = ("held", "others", "taken")

    def __init__(self) -> None:
        self.taken = 0
        """Spent or reserved."""
        self.held = 0
        """The part of it that is reserved."""
        self.others = 0
        """What other relays have taken beside, where they share a count."""

    @property
    def total(self) -> int:
        return self.taken + self.others


class Book:
    """All counters of one key. Checks first, then takes: a request that is refused counts for
    nothing. Neither awaits, so that nothing comes in between.
    """

    __slots__ = ("__weakref__", "_budgets", "_calendar", "requests", "running", "tokens")

    def __init__(self, calendar: Calendar) -> None:
        self.requests = Window()
        self.tokens = Window()
        self.running = 0
        self._calendar = calendar
        self._budgets: dict[str, Budget] = {}

    def budget(self, period: Period) -> Budget:
        """That of the present day, month or of all times."""
        label = self._calendar.now(period).label
        found = self._budgets.get(label)
        if found is None:
            found = self._budgets[label] = Budget()
            if len(self._budgets) > KEPT:
                del self._budgets[next(name for name in self._budgets if name != "total")]
        return found

    def spent(self, label: str) -> int:
        """Of the budget in the period of this label, as far as is known."""
        found = self._budgets.get(label)
        return 0 if found is None else found.total

    def is_blank(self, now: int) -> bool:
        """Whether a new book would say the same: nothing runs, nothing of the last minute counts,
        and nothing is spent of a budget that is not over.
        """
        if self.running or self.requests.look(now) or self.tokens.look(now):
            return False
        return all(
            not budget.held and (not budget.total or self._calendar.is_over(label))
            for label, budget in self._budgets.items()
        )

    def check(self, may: Allowance, tokens: int, cost: int, now: int) -> Budget | None:
        """Whether one request fits; `cost` in billionths, `now` in nanoseconds. The present budget
        of who has one. What has limits was looked at as of `now` then.

        Raises LimitReached: for the budget first, as waiting does not help there.
        """
        budget = None
        if may.budget is not None:
            budget = self.budget(may.budget_period)
            if cost > 0 and budget.taken + budget.others + cost > whole(may.budget):
                left = self._calendar.left(may.budget_period)
                raise too_dear(budget.total, budget.held, cost, left, self.standing(may, now))
        requests, most = may.requests_per_minute, may.tokens_per_minute
        full = requests is not None and self.requests.look(now) >= requests
        if (most is not None and self.tokens.look(now) + tokens > most and tokens > 0) or full:
            self._check_rates(may, tokens, now)
        if may.concurrent is not None and self.running >= may.concurrent:
            raise too_many(may.concurrent, self.standing(may, now))
        return budget

    def _check_rates(self, may: Allowance, tokens: int, now: int) -> None:
        a_request: int | None = 0
        a_token: int | None = 0
        if may.requests_per_minute is not None:
            a_request = self.requests.wait(1, may.requests_per_minute, now)
        if may.tokens_per_minute is not None and tokens > 0:
            a_token = self.tokens.wait(tokens, may.tokens_per_minute, now)
        if a_request == 0 == a_token:
            return
        standing = self.standing(may, now)
        if a_request is None or (a_token is not None and a_request >= a_token):
            raise too_fast("requests", 1, may.requests_per_minute or 0, a_request, standing)
        raise too_fast("tokens", tokens, may.tokens_per_minute or 0, a_token, standing)

    def standing(self, may: Allowance, now: int) -> Standing:
        requests, tokens = self.requests, self.tokens
        return Standing(
            may, requests.look(now), tokens.look(now), requests.empty_in(now), tokens.empty_in(now)
        )

    def take(
        self, may: Allowance, requests: int, tokens: int, running: int, cost: int, at: int
    ) -> Ticket:
        """Count them, whether they fit or not; `at` as for `Window.add`."""
        per_request = per_token = budget = None
        if may.requests_per_minute is not None and requests:
            per_request = self.requests.add(requests, at)
        if may.tokens_per_minute is not None:
            per_token = self.tokens.add(tokens, at)
        if may.budget is not None:
            budget = self.budget(may.budget_period)
            budget.taken += cost
            budget.held += cost
        self.running += running
        return Ticket(self, per_request, per_token, budget)

    def let_in(
        self, may: Allowance, tokens: int, cost: int, budget: Budget | None, clock: Clock, now: int
    ) -> BookPermit:
        """Count one request: `take`, right after `check` has looked at it as of the same `now`."""
        requests = used = requests_reset = tokens_reset = 0
        cell = None
        if may.requests_per_minute is not None:
            window = self.requests
            requests_reset = window.add(1, now).at + WINDOW - now
            requests = window.used
        if may.tokens_per_minute is not None:
            window = self.tokens
            cell = window.add(tokens, now)
            used = window.used
            tokens_reset = cell.at + WINDOW - now if used else 0
        if budget is not None:
            budget.taken += cost
            budget.held += cost
        self.running += 1
        standing = Standing(may, requests, used, requests_reset, tokens_reset)
        return BookPermit(standing, self, cell, budget, tokens, cost, clock)

    def settle(
        self, cell: Cell | None, budget: Budget | None, tokens: int, cost: int, held: int, now: int
    ) -> None:
        """As `Ticket.settle`; `cell` and `budget` are where it was counted."""
        if cell is not None:
            if tokens > 0:
                self.tokens.give(cell, tokens)
            elif tokens < 0:
                self.tokens.add(-tokens, now)
        if budget is not None:
            budget.taken -= cost
            budget.held -= held


class Ticket:
    """Where something was counted, so that it can be given back at the same place."""

    __slots__ = ("_book", "_budget", "_requests", "_tokens")

    def __init__(
        self, book: Book, requests: Cell | None, tokens: Cell | None, budget: Budget | None
    ) -> None:
        self._book = book
        self._requests = requests
        self._tokens = tokens
        self._budget = budget

    def give(self, requests: int, running: int) -> None:
        """Requests that were not made, and places of those that have ended."""
        if self._requests is not None and requests:
            self._book.requests.give(self._requests, requests)
        self._book.running -= running

    def settle(self, tokens: int, cost: int, held: int, now: int) -> None:
        """Give back tokens and money that were not used, and `held` of what is reserved. If they
        are negative, more was used: the tokens count from `now` on.
        """
        self._book.settle(self._tokens, self._budget, tokens, cost, held, now)


class BookPermit(Permit):
    """One request's place in a book."""

    __slots__ = ("_book", "_budget", "_cell", "_clock", "_tokens", "estimate")

    def __init__(
        self, standing: Standing, book: Book, cell: Cell | None, budget: Budget | None,
        tokens: int, cost: int, clock: Clock,
    ) -> None:  # fmt: skip
        self.standing = standing
        self._settled = self._released = False
        self._book = book
        self._cell = cell
        self._budget = budget
        self._tokens = tokens
        self.estimate = cost
        """In billionths."""
        self._clock = clock

    def _settle(self, tokens: int | None, cost: int | None) -> None:
        estimate = self.estimate
        unused = 0 if tokens is None else self._tokens - tokens
        unspent = 0 if cost is None else estimate - cost
        now = self._clock.steady()
        self._book.settle(self._cell, self._budget, unused, unspent, estimate, now)

    def _release(self) -> None:
        self._book.running -= 1


class LocalCounters:
    """Limits that are counted in this process, exactly, and by no one else."""

    trouble: str | None = None

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._calendar = Calendar(self._clock)
        self._books: dict[str, Book] = {}
        self._resting: WeakValueDictionary[str, Book] = WeakValueDictionary()
        """Forgotten here, and still in the hands of a request that may give something back."""

    @property
    def size(self) -> int:
        """How many books there are."""
        return len(self._books) + len(self._resting)

    def book(self, key: str) -> Book:
        """There is one for each key that has limits and was used lately."""
        found = self._books.get(key)
        if found is None:
            self._forget()
            found = self._resting.pop(key, None) or Book(self._calendar)
            self._books[key] = found
        return found

    def _forget(self) -> None:
        """Let go of blank books, a few at a time and each in its turn: so there are never many more
        than are in use, and no request waits for a great tidying up.
        """
        now = self._clock.steady()
        for key in list(islice(self._books, LOOKS)):
            book = self._books.pop(key)
            if book.is_blank(now):
                self._resting[key] = book
            else:
                self._books[key] = book  # at the end

    def label(self, period: Period) -> str:
        """The present day or month."""
        return self._calendar.now(period).label

    def left(self, period: Period) -> float | None:
        """Seconds until a budget is whole again."""
        return self._calendar.left(period)

    async def admit(self, caller: Caller, tokens: int, cost: int) -> Permit:
        """`cost` in billionths. Raises LimitReached."""
        return self.take(caller, tokens, cost)

    def take(self, caller: Caller, tokens: int, cost: int) -> BookPermit:
        """As `admit`, at once. Raises LimitReached."""
        book, may = self._books.get(caller.id) or self.book(caller.id), caller.allowance
        clock = self._clock
        now = clock.steady()
        return book.let_in(may, tokens, cost, book.check(may, tokens, cost, now), clock, now)

    def count(self, caller: Caller, tokens: int, cost: int) -> BookPermit:
        """Without asking whether it fits: what somebody else has let in."""
        book, may, now = self.book(caller.id), caller.allowance, self._clock.steady()
        book.requests.look(now)
        book.tokens.look(now)
        budget = None if may.budget is None else book.budget(may.budget_period)
        return book.let_in(may, tokens, cost, budget, self._clock, now)

    def seed(self, key: str, period: Period, spent: int) -> None:
        """What was spent in the present period, if that is more than is known here."""
        budget = self.book(key).budget(period)
        budget.taken = max(budget.taken, spent + budget.held)

    async def aclose(self) -> None:
        """Nothing is open."""
