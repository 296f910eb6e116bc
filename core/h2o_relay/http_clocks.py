"""How long an upstream may take: the three clocks of an exchange on a connection."""

from __future__ import annotations

import asyncio

from .errors import FirstByteTimeout, IdleTimeout, RelayError, UpstreamTimeout

FOREVER = float("inf")


class Clocks:
    """Until the first byte, between bytes, in all; and until the end of what nobody reads.

    One timer, which stays from one exchange to the next and looks when it fires what is due; it is
    set anew only to fire earlier.
    """

    __slots__ = (
        "_drain_deadline", "_draining", "_fires", "_first_deadline", "_idle", "_last", "_loop",
        "_timer", "_total_deadline", "_waiter",
    )  # fmt: skip
    complete: bool
    _body: bool
    _draining: bool
    _drain_deadline: float
    _fires: float
    _first_deadline: float
    _idle: float
    _last: float
    _loop: asyncio.AbstractEventLoop
    _timer: asyncio.TimerHandle | None
    _total_deadline: float
    _waiter: asyncio.Future[None] | None

    def _watch(self, when: float) -> None:
        if self._fires <= when:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._fires = self._loop.call_at(when, self._tick), when

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._fires = None, FOREVER

    def _tick(self) -> None:
        self._timer, self._fires = None, FOREVER
        if self.complete:
            return  # idle
        now = self._loop.time()
        if self._draining:
            if now >= self._drain_deadline:
                self.abort()
            else:
                self._watch(self._drain_deadline)
            return
        if now >= self._total_deadline:
            self._fail(UpstreamTimeout("the upstream server took too long for its answer"))
            return
        due = self._first_deadline
        error: RelayError = FirstByteTimeout("the upstream server sent nothing")
        if self._body:
            due, error = self._last + self._idle, IdleTimeout("the upstream server fell silent")
            if self._waiter is None:  # the reader is slow, not the upstream
                due = max(due, now + self._idle)
        if now >= due:
            self._fail(error)
        else:
            self._watch(min(due, self._total_deadline))

    def _fail(self, error: RelayError) -> None:
        raise NotImplementedError

    def abort(self, reason: RelayError | None = None) -> None:
        raise NotImplementedError
