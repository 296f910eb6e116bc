"""What a key may: which models, how much in a minute, how many at once, for how much money.

    permit = await limits.admit(caller, tokens, cost)      # raises LimitReached, a 429
    try:
        ...
        if permit is not None:
            permit.settle(tokens, cost)
    finally:
        if permit is not None:
            permit.release()

`docs/limits.md` says what is exact where.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Protocol

from ..errors import Forbidden, Overloaded
from ..settings import SettingError
from .books import LocalCounters
from .caller import Caller, Period
from .permits import SOON, Permit, nanos
from .windows import Clock


class Counters(Protocol):
    """Where it is counted. Money is in billionths of the currency here."""

    @property
    def trouble(self) -> str | None:
        """Why limits are not what they should be, for a person; None while all is well."""

    async def admit(self, caller: Caller, tokens: int, cost: int) -> Permit:
        """Raises LimitReached."""

    def seed(self, key: str, period: Period, spent: int) -> None:
        """What a key had spent in the present period when the relay started."""

    async def aclose(self) -> None:
        """Tell what is left to tell, and close what is open."""


class Limits:
    """The limits of all callers."""

    def __init__(
        self, counters: Counters | None = None, clock: Clock | None = None, *,
        seeded: bool = True,
    ) -> None:  # fmt: skip
        self._counters = counted = LocalCounters(clock) if counters is None else counters
        self._take = counted.take if type(counted) is LocalCounters else None
        """Where nothing is to be waited for."""
        self.seeded = seeded
        """False until `seed` has told what was spent before: callers with a budget are answered
        503 then, as nobody knows what is left of it."""

    @property
    def trouble(self) -> str | None:
        """For `h2o status` and /health: one line, or None."""
        return self._counters.trouble

    async def admit(self, caller: Caller, tokens: int, cost: float) -> Permit | None:
        """Let one request in that is estimated to use so many tokens, prompt and answer together,
        and to cost so much; None for callers without limits, at once.

        Raises LimitReached (429), with `retry_after` and `headers`; Overloaded (503) while nobody
        knows what is left of the caller's budget.
        """
        may = caller.allowance
        if (
            may.requests_per_minute is None
            and may.tokens_per_minute is None
            and may.concurrent is None
            and may.budget is None
        ):
            return None
        if may.budget is not None and not self.seeded:
            message = "What is left of the API key's budget is not known yet."
            raise Overloaded(message, code="budget_unknown", retry_after=SOON)
        if self._take is not None:
            return self._take(caller, tokens, nanos(cost))
        return await self._counters.admit(caller, tokens, nanos(cost))

    def seed(self, key: str, period: Period, spent: float) -> None:
        """What the store of usage says a key has spent in the present period. Also good later:
        what is known here is never made less.
        """
        self._counters.seed(key, period, nanos(spent))

    async def aclose(self) -> None:
        await self._counters.aclose()


def allows(caller: Caller, model: str) -> bool:
    """Whether the caller may use the model or pool of this name."""
    patterns = caller.allowance.models
    return not patterns or _matches(patterns, model)


def allowed(caller: Caller, model: str, asked: str | None = None) -> None:
    """Raises Forbidden `model_not_allowed`. It tells of the model only what was `asked` for: its
    number may be all that the caller knows of it, "" is no name at all.
    """
    if not allows(caller, model):
        shown = model if asked is None else asked
        named = f"the model {shown[:200]!r}" if shown else "this model"
        raise Forbidden(
            f"The API key may not use {named}.", param="model", code="model_not_allowed"
        )


@lru_cache(maxsize=1024)
def _matches(patterns: tuple[str, ...], model: str) -> bool:
    return any(fnmatchcase(model, pattern) for pattern in patterns)


def open_counters(url: str | None, clock: Clock | None = None) -> Counters:
    """Those of `--limits-url`: in a Redis, or in this process where there is none.

    Raises SettingError for a URL that is none of Redis's, and where its client is not installed.
    """
    if not url:
        return LocalCounters(clock)
    try:
        from .redis_counters import RedisCounters
    except ImportError:
        raise SettingError(
            "--limits-url needs the client of Redis: pip install 'h2o-relay[redis]'"
        ) from None
    return RedisCounters(url, clock)
