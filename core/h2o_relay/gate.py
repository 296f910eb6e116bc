"""A gate that so many requests are inside of at the same time, and no more."""

from __future__ import annotations

import asyncio
from collections import deque


class Gate:
    """As `asyncio.Semaphore`, but its limit may be changed: those inside go on and are counted, and
    who waits goes on waiting, in the order of coming. None is no limit.
    """

    __slots__ = ("_inside", "_limit", "_waiting")

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def change(self, limit: int | None) -> None:
        self._limit = limit
        self._let_in()

    def locked(self) -> bool:
        """Whether `acquire` would wait."""
        return bool(self._waiting) or self._full

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def _full(self) -> bool:
        return self._limit is not None and self._inside >= self._limit

    async def acquire(self) -> None:
        if not self.locked():
            self._inside += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():
                self.release()  # it was let in as it left
            elif place in self._waiting:
                self._waiting.remove(place)
            raise

    def release(self) -> None:
        self._inside -= 1
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and not self._full:
            place = self._waiting.popleft()
            if not place.cancelled():
                self._inside += 1
                place.set_result(None)
