"""A moment that is moved often and comes seldom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

NEVER = float("inf")


def _nobody() -> None:
    pass


class Deadline:
    """Calls back when its moment comes. One timer looks, when it fires, whether it has come; it is
    set anew only to fire earlier, so that moving the moment costs next to nothing.
    """

    __slots__ = ("_expired", "_loop", "_timer", "_when")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._when = NEVER
        self._timer: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        return self._when != NEVER

    def after(self, seconds: float) -> None:
        """Move the moment to so many seconds from now."""
        self._when = self._loop.time() + seconds
        if self._timer is not None:
            if self._timer.when() <= self._when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(self._when, self._look)

    def stop(self) -> None:
        """It does not come, until it is moved again."""
        self._when = NEVER

    def cancel(self) -> None:
        """Leave nothing behind, not even whom to call: it holds this, too."""
        self._when = NEVER
        self._expired = _nobody
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._when == NEVER:
            return
        if self._loop.time() < self._when:
            self._timer = self._loop.call_at(self._when, self._look)
        else:
            self._when = NEVER
            self._expired()
