"""Sticky: the turns of a conversation go to one server, whose cache then holds its beginning."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from random import Random

from ..pools import PoolSpec
from .hashing import score
from .types import Candidate, Chosen
from .view import View, least

BOUND = 1.25  # times the average, and one more: what has so much to do keeps no conversation
REMEMBERED = 16_384  # conversations; the rest find their home by their hash


class Sticky:
    """A conversation begins at its home, by rendezvous hashing, unless that has more to do than the
    average; then at the next in its order that has not. It stays there, where its cache is, while
    that server's load is below `BOUND`; then it begins anew elsewhere.

    Slow servers get fewer conversations by that without anybody knowing speeds: what they have to
    do piles up. Where conversations are is remembered; what was forgotten, by a restart, is found
    again by the hash for most. A request without a key goes to the least loaded member.
    """

    def __init__(self, spec: PoolSpec, view: View, rng: Random) -> None:
        self._places: OrderedDict[int, str] = OrderedDict()
        self._moved: list[tuple[int, str]] | None = None
        self._view = view
        self._rng = rng

    def pick(
        self, free: Sequence[Candidate], members: Sequence[Candidate], key: int | None
    ) -> Chosen:
        if key is None:
            return Chosen(self._least(free), "no-session")
        loads = [self._view.load(member) for member in free]
        mean = (sum(loads) + 1) / len(free)
        place = self._places.get(key)
        if place is not None:
            for member, this in zip(free, loads, strict=True):
                if member.name == place and this < BOUND * mean + 1:
                    self._places.move_to_end(key)
                    return Chosen(member, "sticky")
        best, best_score = None, -1
        for member, this in zip(free, loads, strict=True):
            if this < mean + 0.5 and member.name != place:
                found = score(key, member.name)
                if found > best_score:
                    best, best_score = member, found
        best = self._least(free) if best is None else best
        self.remember(key, best.name)
        if self._moved is not None:
            self._moved.append((key, best.name))
        return Chosen(best, "sticky" if place in (None, best.name) else "sticky-moved")

    def score(self, member: Candidate, members: Sequence[Candidate], key: int | None) -> float:
        """Its place in the conversation's order; 0 for where the conversation is."""
        if key is None:
            return self._view.load(member)
        if self._places.get(key) == member.name:
            return 0.0
        own = score(key, member.name)
        return 1.0 + sum(score(key, other.name) > own for other in members)

    def _least(self, free: Sequence[Candidate]) -> Candidate:
        member = least(free, self._view, self._rng)
        self._view.asked(member)
        return member

    def moved(self) -> list[tuple[int, str]]:
        """Conversations that were given a place since this was last asked; from the first time on
        they are noted.
        """
        found, self._moved = self._moved, []
        return found or []

    def remember(self, key: int, name: str) -> None:
        self._places[key] = name
        self._places.move_to_end(key)
        if len(self._places) > REMEMBERED:
            self._places.popitem(last=False)
