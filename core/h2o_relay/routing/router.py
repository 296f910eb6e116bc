"""`Router`: who of a pool is in question, and which of them its strategy picks."""

from __future__ import annotations

import copy
import random
from collections.abc import Container, Sequence
from typing import Any

from ..pools import PoolSpec
from .sticky import Sticky
from .strategies import MAKERS, Picker
from .types import Candidate, Chosen
from .view import View

ONLY = "only-member"


class Router:
    """One for each pool. It keeps what its strategy remembers; without locks, for one loop."""

    def __init__(self, spec: PoolSpec, rng: random.Random | None = None) -> None:
        self.spec = spec
        self._view = View()
        self._strategy: Picker = MAKERS[spec.strategy](spec, self._view, rng or random.Random())

    def choose(
        self,
        members: Sequence[Candidate],
        key: int | None = None,
        excluded: Container[Candidate] = (),
    ) -> Chosen | None:
        """The member to ask, and why. `members` are in the operator's order, `excluded` failed for
        this request already; `key` is that of its conversation.

        None where all that could answer are at their limits, or none can: the caller tells the two
        apart by `usable`.
        """
        free = _free(members, excluded)
        if not free:
            return None
        chosen = self._strategy.pick(free, members, key)
        return Chosen(chosen.member, ONLY) if len(members) == 1 else chosen

    def moved(self) -> list[tuple[int, str]]:
        """Conversations that were given a place since this was last asked, with their members."""
        return self._strategy.moved() if isinstance(self._strategy, Sticky) else []

    def place(self, key: int, member: str) -> None:
        """A conversation was given a place elsewhere."""
        if isinstance(self._strategy, Sticky):
            self._strategy.remember(key, member)

    def explain(self, members: Sequence[Candidate], key: int | None = None) -> list[dict[str, Any]]:
        """How a request would be answered now, changing nothing: for each member its `score` (the
        least is the best), `load`, `latency` in seconds, whether it is `chosen`, and in `why` the
        reason for it or against it.
        """
        free = _free(members, ())
        trial = copy.deepcopy(self._strategy)
        chosen = trial.pick(free, members, key) if free else None
        if chosen is not None and len(members) == 1:
            chosen = Chosen(chosen.member, ONLY)
        rows = []
        for member in members:
            against = _against(member, free)
            picked = chosen is not None and chosen.member is member
            row = {
                "member": member.name,
                "score": round(self._strategy.score(member, members, key), 4),
                "load": self._view.load(member),
                "latency": member.latency,
                "in_question": not against,
                "chosen": picked,
                "why": chosen.reason if chosen is not None and picked else against,
            }
            rows.append(row)
        return rows


def _free(members: Sequence[Candidate], excluded: Container[Candidate]) -> list[Candidate]:
    """Those that may be asked and have room; degraded ones only where all others are away."""
    free: list[Candidate] = []
    degraded: list[Candidate] | None = None
    full = False
    for member in members:
        if not member.usable or (excluded and member in excluded):
            continue
        if member.degraded:
            degraded = [member] if degraded is None else [*degraded, member]
            continue
        limit = member.limit
        if limit is None or member.in_flight < limit:
            free.append(member)
        else:
            full = True
    if free or full or degraded is None:
        return free
    return [one for one in degraded if one.limit is None or one.in_flight < one.limit]


def _against(member: Candidate, free: Sequence[Candidate]) -> str:
    """Why a member is not in question; "" if it is."""
    if any(one is member for one in free):
        return ""
    if not member.usable:
        return "cannot be asked now"
    if member.limit is not None and member.in_flight >= member.limit:
        return "has as many requests as it may"
    return "limits the rate or has just failed, and others are there"
