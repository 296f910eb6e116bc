"""What the scripts are told and what they say: names of keys, and refusals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from .caller import Allowance
from .permits import LimitReached, Standing, too_dear, too_fast, too_many
from .windows import SECOND

MILLI: Final = SECOND // 1000


def keys(key: str, label: str, name: str | None = None) -> list[str]:
    """The names in Redis, in the order of the scripts. The braces keep those of one key together
    in a cluster (redis.io, "Redis cluster specification", hash tags).
    """
    head = f"h2o:limits:{{{key}}}:"
    found = [f"{head}window", f"{head}live", f"{head}held", f"{head}spent:{label}"]
    return found if name is None else [*found, f"{head}once:{name}"]


class Answer(NamedTuple):
    """What `redis_admit.lua` says."""

    admitted: int
    dear: int
    """The budget has no room."""
    request_wait: int
    """Milliseconds; -1 for never."""
    token_wait: int
    many: int
    """As many are running as may."""
    requests: int
    """Used of the last minute."""
    tokens: int
    requests_reset: int
    """Milliseconds."""
    tokens_reset: int
    taken: int
    """Of the budget, in billionths, by all relays."""
    reserved: int
    """The part of it that requests which run may not need; told only where the budget refuses."""


def standing(may: Allowance, said: Answer) -> Standing:
    return Standing(
        may, said.requests, said.tokens, said.requests_reset * MILLI, said.tokens_reset * MILLI
    )


def refusal(
    may: Allowance, tokens: int, cost: int, said: Answer, left: float | None
) -> LimitReached:
    """Why a request was not let in; in the order of `Book.check`. `left` are the seconds until the
    budget is whole again.
    """
    where = standing(may, said)
    if said.dear:
        return too_dear(said.taken, said.reserved, cost, left, where)
    waits: Sequence[int] = (said.request_wait, said.token_wait)
    if any(waits):
        # The longer wait counts, and never is the longest.
        by_request = waits[0] < 0 or (waits[1] >= 0 and waits[0] >= waits[1])
        limit = may.requests_per_minute if by_request else may.tokens_per_minute
        wait = waits[0] if by_request else waits[1]
        what, amount = ("requests", 1) if by_request else ("tokens", tokens)
        return too_fast(what, amount, limit or 0, None if wait < 0 else wait * MILLI, where)
    return too_many(may.concurrent or 0, where)
