"""The strategies of a pool: each picks one of the members that are free, and gives scores."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Protocol

from ..pools import PoolSpec, Strategy
from .sticky import Sticky
from .types import Candidate, Chosen
from .view import View, least

Members = Sequence[Candidate]


class Picker(Protocol):
    """What a strategy is. `free` are those of `members` that may be asked, at least one."""

    def pick(self, free: Members, members: Members, key: int | None) -> Chosen: ...

    def score(self, member: Candidate, members: Members, key: int | None) -> float:
        """What a member is judged by, for people: the least is the best."""
        ...


class LeastLoad:
    """The member with the fewest requests (`view.least`)."""

    def __init__(self, spec: PoolSpec, view: View, rng: Random) -> None:
        self._view = view
        self._rng = rng

    def pick(self, free: Members, members: Members, key: int | None) -> Chosen:
        member = least(free, self._view, self._rng)
        self._view.asked(member)
        return Chosen(member, "least-load")

    def score(self, member: Candidate, members: Members, key: int | None) -> float:
        return self._view.load(member)


class Latency:
    """The least expected time to the first token: the moving average, times the requests that are
    there and this one, so that a burst is spread before the average has noticed it. A member that
    nobody knows yet counts as the fastest.
    """

    def __init__(self, spec: PoolSpec, view: View, rng: Random) -> None:
        self._view = view
        self._rng = rng

    def pick(self, free: Members, members: Members, key: int | None) -> Chosen:
        fastest = self._fastest(free)
        best, best_cost, equals = free[0], float("inf"), 1
        for member in free:
            cost = self._cost(member, fastest)
            if cost == best_cost:
                equals += 1
                if self._rng.random() * equals < 1:  # each of them as often
                    best = member
            elif cost < best_cost:
                best, best_cost, equals = member, cost, 1
        self._view.asked(best)
        return Chosen(best, "latency")

    def score(self, member: Candidate, members: Members, key: int | None) -> float:
        return self._cost(member, self._fastest(members))

    def _fastest(self, members: Members) -> float:
        known = (self._view.latency(member) for member in members)
        return min((seconds for seconds in known if seconds is not None), default=1.0)

    def _cost(self, member: Candidate, fastest: float) -> float:
        seconds = self._view.latency(member)
        return (fastest if seconds is None else seconds) * (self._view.load(member) + 1)


class Weighted:
    """Smooth weighted round robin, as nginx has it: each round every free member gains its weight,
    and the one that has most pays what all gained. With weights 2 and 1: a, b, a. Members without
    a weight are a reserve, used when no other is free.
    """

    def __init__(self, spec: PoolSpec, view: View, rng: Random) -> None:
        self._spec = spec
        self._weights: dict[str, float] = {}
        self._gained: dict[str, float] = {}
        self._reserve = LeastLoad(spec, view, rng)

    def pick(self, free: Members, members: Members, key: int | None) -> Chosen:
        total, best, most = 0.0, None, 0.0
        for member in free:
            weight = self._weight(member, members)
            if weight <= 0:
                continue
            total += weight
            gained = self._gained[member.name] = self._gained.get(member.name, 0.0) + weight
            if best is None or gained > most:
                best, most = member, gained
        if best is None:
            return Chosen(self._reserve.pick(free, members, key).member, "reserve")
        self._gained[best.name] = most - total
        return Chosen(best, "weighted")

    def score(self, member: Candidate, members: Members, key: int | None) -> float:
        return -self._gained.get(member.name, 0.0) - self._weight(member, members)

    def _weight(self, member: Candidate, members: Members) -> float:
        weight = self._weights.get(member.name)
        return self._read(member, members) if weight is None else weight

    def _read(self, member: Candidate, members: Members) -> float:
        """What the operator says of a member, by its name or by the place it is given by."""
        said = self._spec.weights
        names = [str(one) for one in self._spec.members]
        written = member.name
        if written not in said and len(names) == len(members):
            written = next(name for name, one in zip(names, members, strict=True) if one is member)
        weight = self._weights[member.name] = said.get(written, 1.0)
        return weight


class Priority:
    """The first in the operator's order that has room. Without `spill_over` that is until its own
    limit is reached; if all have spilled over, the least loaded.
    """

    def __init__(self, spec: PoolSpec, view: View, rng: Random) -> None:
        self._most = spec.spill_over
        self._view = view
        self._rest = LeastLoad(spec, view, rng)

    def pick(self, free: Members, members: Members, key: int | None) -> Chosen:
        for member in free:
            if self._most is None or self._view.load(member) < self._most:
                first = member is members[0]
                return Chosen(member, "priority" if first else self._why(members[0]))
        return Chosen(self._rest.pick(free, members, key).member, "all-spilled-over")

    def score(self, member: Candidate, members: Members, key: int | None) -> float:
        return float(next(place for place, one in enumerate(members) if one is member))

    @staticmethod
    def _why(first: Candidate) -> str:
        return "spill-over" if first.usable and not first.degraded else "preferred-is-away"


class WarmFirst:
    """Members that have the model in memory, then those of which that is not known, then the
    rest; among equals the least loaded.
    """

    def __init__(self, spec: PoolSpec, view: View, rng: Random) -> None:
        self._view = view
        self._least = LeastLoad(spec, view, rng)

    def pick(self, free: Members, members: Members, key: int | None) -> Chosen:
        warmest = min(map(_cold, free))
        these = [member for member in free if _cold(member) == warmest]
        return Chosen(self._least.pick(these, members, key).member, WARMTH[warmest])

    def score(self, member: Candidate, members: Members, key: int | None) -> float:
        return 1e6 * _cold(member) + self._view.load(member)


WARMTH = ("warm", "warm-unknown", "cold")


def _cold(member: Candidate) -> int:
    loaded = member.loaded
    return 1 if loaded is None else 0 if loaded else 2


MAKERS: dict[Strategy, type[LeastLoad | Latency | Weighted | Priority | Sticky | WarmFirst]] = {
    "least-load": LeastLoad,
    "latency": Latency,
    "weighted": Weighted,
    "priority": Priority,
    "sticky": Sticky,
    "warm-first": WarmFirst,
}
