"""What a caller is told of its limits: a permit and its headers, or why there is none.

The headers are OpenAI's (platform.openai.com/docs/guides/rate-limits, "Rate limits in headers"):
`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, where `reset` is the time until nothing of
the limit is used any more, written `6m0s`, `1s` or `20ms`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ..errors import RateLimited
from .caller import Allowance, Period
from .windows import SECOND

Headers = tuple[tuple[bytes, bytes], ...]
NANO: Final = 1_000_000_000
"""Money is counted in whole billionths: sums stay exact, however many are added."""
SOON: Final = 1.0
"""Seconds until a caller should try again where it depends on when other requests end."""
PATIENCE: Final = 60.0
"""Seconds of waiting beyond which clients are asked not to try again by themselves."""
FINAL: Final = (b"x-should-retry", b"false")
"""What the client libraries of OpenAI and Anthropic obey."""
PERIODS: Final[dict[Period, str]] = {"day": "today", "month": "this month", "total": "in all"}


def nanos(cost: float) -> int:
    """Billionths of the currency."""
    found = round(cost * NANO)
    return found if found > 0 else 0


@lru_cache(maxsize=1024)
def whole(budget: float) -> int:
    """`nanos` of a budget, which is the same for all requests of a key."""
    return nanos(budget)


def duration(seconds: float) -> str:
    """As OpenAI writes it, which is Go's way (`time.Duration.String`), in whole milliseconds."""
    return _duration(max(0, math.ceil(seconds * 1000 - 1e-6)))


@lru_cache(maxsize=1024)
def _duration(left: int) -> str:
    if left < 1000:
        return f"{left}ms" if left else "0s"
    minutes, millis = divmod(left, 60_000)
    hours, minutes = divmod(minutes, 60)
    rest = f"{millis / 1000:.3f}".rstrip("0").rstrip(".")
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


@lru_cache(maxsize=1024)
def _reset(left: int) -> bytes:
    """Nanoseconds as a header tells them: the same few, since who is let in has used the limit."""
    return duration(left / SECOND).encode()


def _lines(what: bytes) -> bytes:
    names = b"limit-%b: %%d\r\n", b"remaining-%b: %%d\r\n", b"reset-%b: %%b\r\n"
    return b"".join([b"x-ratelimit-" + name % what for name in names])


REQUEST_LINES: Final = _lines(b"requests")
TOKEN_LINES: Final = _lines(b"tokens")


@dataclass(slots=True)
class Standing:
    """How far a caller has used up what it may in a minute."""

    allowance: Allowance
    requests: int = 0
    tokens: int = 0
    requests_reset: int = 0
    """Nanoseconds until nothing is used any more."""
    tokens_reset: int = 0

    @property
    def headers(self) -> Headers:
        """Nothing of limits that the caller has not."""
        may = self.allowance
        found: Headers = ()
        if may.requests_per_minute is not None:
            found += self._of(b"requests", may.requests_per_minute, self.requests,
                              self.requests_reset)  # fmt: skip
        if may.tokens_per_minute is not None:
            found += self._of(b"tokens", may.tokens_per_minute, self.tokens, self.tokens_reset)
        return found

    @property
    def block(self) -> bytes:
        """The headers as they are sent, a line end after each."""
        may = self.allowance
        requests, tokens = may.requests_per_minute, may.tokens_per_minute
        found = b""
        if requests is not None:
            left = requests - self.requests
            found = REQUEST_LINES % (requests, left if left > 0 else 0, _reset(self.requests_reset))
        if tokens is not None:
            left = tokens - self.tokens
            found += TOKEN_LINES % (tokens, left if left > 0 else 0, _reset(self.tokens_reset))
        return found

    @staticmethod
    def _of(what: bytes, limit: int, used: int, reset: int) -> Headers:
        return (
            (b"x-ratelimit-limit-" + what, b"%d" % limit),
            (b"x-ratelimit-remaining-" + what, b"%d" % max(0, limit - used)),
            (b"x-ratelimit-reset-" + what, _reset(reset)),
        )


class LimitReached(RateLimited):
    """The caller may not do this now: `rate_limit_exceeded`, `concurrency_exceeded`."""

    headers: Headers

    def __init__(
        self, message: str, standing: Standing, *, code: str | None = None,
        retry_after: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message, code=code, retry_after=retry_after)
        final = retry_after is None or retry_after > PATIENCE
        self.headers = (*standing.headers, FINAL) if final else standing.headers


class QuotaExceeded(LimitReached):
    """The budget of the caller's key is used up. OpenAI's type and code for that."""

    type = "insufficient_quota"
    code = "insufficient_quota"


def too_fast(
    what: str, amount: int, limit: int, wait: int | None, standing: Standing
) -> LimitReached:
    """A limit per minute is reached; `wait` is in nanoseconds, None if `amount` never fits."""
    if wait is None:
        message = (
            f"This request counts as {amount} {what}, and {limit} a minute are allowed. A shorter "
            "prompt or a lower max_tokens may fit."
            if what == "tokens" else f"No more than {limit} requests a minute are allowed."
        )  # fmt: skip
        return LimitReached(message, standing)
    seconds = wait / SECOND
    message = (
        f"Rate limit reached: {limit} {what} a minute are allowed. "
        f"Try again in {duration(seconds)}."
    )
    return LimitReached(message, standing, retry_after=seconds)


def too_many(limit: int, standing: Standing) -> LimitReached:
    """As many requests as the caller may have at the same time are running."""
    message = f"{limit} requests at the same time are allowed. Wait for one to end."
    after = SOON if limit > 0 else None
    return LimitReached(message, standing, code="concurrency_exceeded", retry_after=after)


def too_dear(
    taken: int, held: int, cost: int, left: float | None, standing: Standing
) -> QuotaExceeded:
    """The budget has no room for `cost`. `taken` of it is gone, `held` of that reserved by requests
    that run; `left` are the seconds until it is whole again.
    """
    may = standing.allowance
    budget = nanos(may.budget or 0.0)
    spent = f"{_money(taken - held)} of {_money(budget)} {PERIODS[may.budget_period]}"
    if taken - held + cost <= budget:
        message = (
            f"The rest of the API key's budget is reserved by requests that run ({spent} is used)."
        )
        return QuotaExceeded(message, standing, retry_after=SOON)
    if taken - held < budget:
        message = f"This may cost {_money(cost)}, more than is left of the API key's budget: "
    else:
        message = "The API key's budget is used up: "
    return QuotaExceeded(f"{message}{spent}.", standing, retry_after=left)


def _money(amount: int) -> str:
    return f"{amount / NANO:.6f}".rstrip("0").rstrip(".")


class Permit:
    """What a request got from its caller's limits; `settle` and `release` it when it is over.

    Both are plain calls that never wait and never raise, so that they are safe in a `finally`, and
    while a task is being cancelled.
    """

    __slots__ = ("_released", "_settled", "standing")

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self._settled = False
        self._released = False

    @property
    def headers(self) -> Headers:
        """OpenAI's `x-ratelimit-*`, as of when the request was let in."""
        return self.standing.headers

    def settle(self, tokens: int | None, cost: float | None) -> None:
        """What it really was, in place of what was estimated; None where nobody knows, and the
        estimate stays. Only the first call counts.
        """
        if not self._settled:
            self._settled = True
            self._settle(tokens, None if cost is None else nanos(cost))

    def settle_nanos(self, tokens: int | None, cost: int | None) -> None:
        """The same in billionths."""
        if not self._settled:
            self._settled = True
            self._settle(tokens, cost)

    def release(self) -> None:
        """It is over; idempotent. What was never settled stays counted as it was estimated: a
        request whose cost got lost is not free.
        """
        if not self._released:
            self._released = True
            if not self._settled:
                self.settle_nanos(None, None)
            self._release()

    def _settle(self, tokens: int | None, cost: int | None) -> None:
        raise NotImplementedError

    def _release(self) -> None:
        raise NotImplementedError
