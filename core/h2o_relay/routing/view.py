"""`View`: how much a member has to do, and how fast it has been. What strategies compare."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from .types import Candidate

AGEING = 0.98
"""What is left of a latency with each request that went to others: a member that was slow once is
tried again, after a number of requests that grows with the logarithm of how slow it was."""
TRUST = 0.2
"""Of the latest report in the average of what others send to a server. Reports are old, and every
relay sees the same ones: all that believe them at once run to one server, which in the simulated
fleet is worse than to have no reports."""


class View:
    """What a pool's router has seen of its members, by their names."""

    __slots__ = ("_asked", "_count", "_others")

    def __init__(self) -> None:
        self._asked: dict[str, int] = {}
        self._count = 0
        self._others: dict[str, tuple[float, float, int]] = {}  # average, and the last report

    def load(self, member: Candidate) -> float:
        """Requests at its server now: ours, which are known exactly, and those of others, where
        the server reports how many it has: what it told beyond what was ours then, averaged.
        """
        ours = member.in_flight
        told = member.reported
        if told is None:
            return ours
        at = member.reported_at_in_flight
        seen = self._others.get(member.name)
        if seen is None:
            others = told - at
        elif seen[1] == told and seen[2] == at:
            return ours + seen[0] if seen[0] > 0 else ours
        else:
            others = seen[0] + TRUST * (told - at - seen[0])
        self._others[member.name] = (others, told, at)
        return ours + others if others > 0 else ours

    def latency(self, member: Candidate) -> float | None:
        """Seconds to the first token to be expected, the less the longer others were asked; None
        where nothing is known.
        """
        seconds = member.latency
        if seconds is None:
            return None
        asked = self._asked.get(member.name)
        if asked is None:  # the latency is older than this view
            self._asked[member.name] = self._count
            return seconds
        away = self._count - asked
        return seconds * AGEING**away if away > 1 else seconds

    def asked(self, member: Candidate) -> None:
        """It is sent a request."""
        self._count += 1
        self._asked[member.name] = self._count


def least(members: Sequence[Candidate], view: View, rng: Random) -> Candidate:
    """The member with the least load; of several, the one with the least latency (at random where
    none is known). `members` must not be empty.

    The power of two choices compares two members at random, so that balancers who all see the same
    old numbers do not all run to one server. Here the old numbers are averaged instead (`TRUST`)
    and a relay's own requests are known at once, so that all members can be compared: in a fleet
    of eight unequal servers two at random wait twice as long. Of equally loaded members the faster
    one is taken. Requests are counted, and not weighed with speeds, because nobody knows how many
    a server works on at the same time: to give the fast ones more than that is worse than to use
    the slow ones. `tests/core/routing/test_fleet.py` has the figures.
    """
    best, equals = members[0], 1
    best_load, best_pace = view.load(best), -1.0
    for member in members[1:]:
        this = view.load(member)
        if this > best_load:
            continue
        if this < best_load:
            best, best_load, best_pace, equals = member, this, -1.0, 1
            continue
        if best_pace < 0:
            best_pace = view.latency(best) or 0.0
        seconds = view.latency(member) or 0.0
        if seconds == best_pace:
            equals += 1
            if rng.random() * equals < 1:  # each of them as often
                best = member
        elif seconds < best_pace:
            best, best_pace, equals = member, seconds, 1
    return best
