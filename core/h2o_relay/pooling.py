"""`Pool`: deployments under one name while the relay runs; who answers, and who waits for whom."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterable
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from .errors import Overloaded, UpstreamUnavailable
from .pools import PoolSpec
from .route import printable
from .routing import Chosen, Router
from .types import Deployment

if TYPE_CHECKING:
    from .route import Route

LOOK = 0.5  # seconds after which those who wait look again, if nothing wakes them
WAIT = 5.0  # seconds that a caller is told to wait where nobody knows how long it takes


class Pool:
    """A pool, which outlives snapshots: its members change, its queue and its router stay."""

    def __init__(self, spec: PoolSpec) -> None:
        self.spec = spec
        self.name = spec.name
        self.members: tuple[Route, ...] = ()
        self.missing: tuple[str, ...] = ()
        """Members that nobody knows (yet)."""
        self._router = Router(spec)
        self._queue: dict[int, asyncio.Future[None]] = {}
        """Those who wait, by their places; a future is done when it is its owner's turn to look."""
        self._last = 0  # place that was given
        self._picky = 0  # of those who wait: they have failed at some member
        self._timer: asyncio.TimerHandle | None = None
        self._pending = False
        self._removed = False
        self._created = 0
        self.others = 0
        """Requests that wait in other processes of this relay, as last heard."""

    def change(self, spec: PoolSpec) -> None:
        """It is to be another; who waits goes on waiting."""
        self.spec, self._router = spec, Router(spec)

    def fill(
        self, found: Iterable[Route], missing: Iterable[str], created: int, pending: bool = False
    ) -> None:
        """These are its members from now on; those that are missing may turn up if servers are
        `pending`, which nobody has looked at yet.
        """
        for member in self.members:
            member.entry.pools.discard(self)
        self.members, self.missing = tuple(found), tuple(missing)
        for member in self.members:
            member.entry.pools.add(self)
        self._created, self._pending = self._created or created, pending
        self.wake()

    @property
    def deployment(self) -> Deployment:
        """The pool as one model: what all of its members can do."""
        known = [member.deployment.max_context for member in self.members]
        contexts = [length for length in known if length is not None]
        best = self.best()
        return replace(
            best.deployment,
            name=self.name,
            max_context=min(contexts) if contexts else None,
            owned_by="pool",
            created=self._created,
            visible=True,
        )

    def best(self) -> Route:
        """A member that can be asked, else any. Raises UpstreamUnavailable if there is none."""
        usable = [member for member in self.members if member.usable]
        for member in usable or self.members:
            return member
        raise UpstreamUnavailable(f"the pool `{self.name}` has no members yet", retry_after=WAIT)

    @property
    def seen(self) -> bool:
        """Waiting for first looks would not help: a member can answer, or all were looked at."""
        if any(member.usable for member in self.members):
            return True
        return not self.missing and all(member.seen for member in self.members)

    @property
    def waiting(self) -> int:
        return len(self._queue) + self.others

    @property
    def own_waiting(self) -> int:
        """Those of this process."""
        return len(self._queue)

    def moved(self) -> list[tuple[int, str]]:
        """Conversations that were given a place since this was last asked, with their members."""
        return self._router.moved()

    def place(self, key: int, member: str) -> None:
        """A conversation was given a place in another process."""
        self._router.place(key, member)

    async def take(self, key: int | None, excluded: Container[Route] = ()) -> Chosen:
        """A member with a free slot; waits for one. Raises UpstreamUnavailable where none can
        answer, Overloaded where too many wait already.

        Lease it before anything else is awaited: until then its slot counts as free.
        """
        chosen = None
        if not self._queue or (self._picky and not self._looking):
            chosen = self._router.choose(self.members, key, excluded)
        if chosen is not None:
            return chosen
        if not any(member.usable and member not in excluded for member in self.members):
            raise self._nobody()
        if self.waiting >= self.spec.queue:
            raise Overloaded(
                f"{self.waiting} requests wait for the model `{self.name}` already.",
                retry_after=WAIT,
            )
        return await self._wait(key, excluded)

    async def _wait(self, key: int | None, excluded: Container[Route]) -> Chosen:
        loop = asyncio.get_running_loop()
        self._last = place = self._last + 1
        self._picky += bool(excluded)
        try:
            while True:
                self._queue[place] = loop.create_future()
                self._look_again(loop)
                await self._queue[place]
                chosen = self._router.choose(self.members, key, excluded)
                if chosen is not None:
                    return chosen
                if not self._hopes(excluded):
                    raise self._nobody()
                if self._picky:  # what is no use to this one may be to those behind it
                    self.wake(place)
        finally:
            self._picky -= bool(excluded)
            turn = self._queue.pop(place)
            if turn.done() and not turn.cancelled():
                self.wake()  # there may be room for the next one, too
            if not self._queue:
                self._emptied()

    @property
    def _looking(self) -> bool:
        """Somebody who waits was woken, and has not looked yet."""
        return any(turn.done() and not turn.cancelled() for turn in self._queue.values())

    def _hopes(self, excluded: Container[Route]) -> bool:
        """Whether waiting may help: a member can answer, or is being opened, as after a reload."""
        return (bool(self.missing) and self._pending) or any(
            (member.usable or not member.seen) and member not in excluded for member in self.members
        )

    def wake(self, behind: int = 0) -> None:
        """A slot may be free: let the first who waits look; of those behind a place, if one is
        given.
        """
        for place, turn in self._queue.items():
            if place > behind and not turn.done():
                turn.set_result(None)
                return

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        """Pauses and open breakers end without a word, so that who waits looks now and then."""
        if self._timer is None:
            self._timer = loop.call_later(LOOK, self._time_to_look, loop)

    def _time_to_look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._queue:
            self.wake()
            self._look_again(loop)

    def _emptied(self) -> None:
        """Nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._removed:
            self.remove()

    def remove(self) -> None:
        """It is configured no more; who waits is still answered."""
        self._removed = True
        if not self._queue:
            for member in self.members:
                member.entry.pools.discard(self)

    def explain(self, key: int | None = None) -> list[dict[str, object]]:
        """Each member, its score, and whether it is in question."""
        return self._router.explain(self.members, key)

    def _nobody(self) -> UpstreamUnavailable:
        states = ", ".join(
            f"{printable(m.name)} is {m.entry.state(monotonic())[0]}" for m in self.members
        )
        return UpstreamUnavailable(
            f"No server of the model `{self.name}` can answer now: {states or 'it has none'}.",
            retry_after=WAIT,
        )
