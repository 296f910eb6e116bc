"""A circuit breaker for one server: after failures in a row nobody waits for it for a while.

    if breaker.enter(now):          # as the request is sent
        ...
        breaker.succeeded(now)      # the server answered
        breaker.failed(now)         # it failed
        breaker.abandoned()         # nobody knows: the caller left

No clock of its own: times are those of `time.monotonic()`, in seconds, and are handed in.
"""

from __future__ import annotations

from typing import Any, Literal

BreakerState = Literal["closed", "open", "half-open"]
SHAKY = 1.0  # seconds for which one failure makes other members the better choice


class Breaker:
    """`failures` in a row open it for `open_for` seconds; then one request at a time is a trial. A
    trial that succeeds closes it; one that fails opens it for twice as long, up to `longest`.
    """

    __slots__ = (
        "_closed_at",
        "_failed_at",
        "_in_row",
        "_seconds",
        "_trial",
        "_until",
        "failures",
        "longest",
        "open_for",
    )

    def __init__(self, failures: int = 5, open_for: float = 3.0, longest: float = 60.0) -> None:
        self.failures = failures
        self.open_for = open_for
        self.longest = longest
        self._in_row = 0
        self._failed_at: float | None = None
        self._until: float | None = None  # when a trial may begin; None while closed
        self._trial = False
        self._seconds = open_for  # for which it opens next
        self._closed_at: float | None = None  # after having been open

    def state(self, now: float) -> BreakerState:
        if self._until is None:
            return "closed"
        return "half-open" if self._trial or now >= self._until else "open"

    @property
    def is_open(self) -> bool:
        """Requests have failed one after another, and none has been answered since."""
        return self._until is not None

    def allows(self, now: float) -> bool:
        """Whether a request may be sent. Changes nothing: `enter` takes the turn."""
        return self._until is None or (not self._trial and now >= self._until)

    def enter(self, now: float) -> bool:
        """Whether a request may be sent, which is sent then: while half-open, it is the trial."""
        if self._until is None:
            return True
        if not self.allows(now):
            return False
        self._trial = True
        return True

    def succeeded(self, now: float) -> None:
        """The server answered. Whatever began when, it is there: the breaker closes."""
        self._in_row = 0
        self._failed_at = None
        if self._until is not None:
            self._until, self._trial, self._closed_at = None, False, now

    def failed(self, now: float) -> None:
        """The server failed a request."""
        if self._until is not None and not self._trial:
            return  # it began before the breaker opened, which has been counted
        self._in_row += 1
        self._failed_at = now
        if self._trial or self._in_row >= self.failures:
            self._open(now)

    def abandoned(self) -> None:
        """A request ended without showing anything: cancelled, or refused by ourselves. If it was
        the trial, the next request is.
        """
        self._trial = False

    def answered(self, now: float) -> None:
        """A probe in the background was answered: the next request is a trial at once. That alone
        does not close the breaker, since a server may list a model that it cannot run.
        """
        if self._until is not None:
            self._until = min(self._until, now)

    def left(self, now: float) -> float:
        """Seconds until a trial may begin; 0 where a request may be sent or a trial runs."""
        return 0.0 if self._until is None else max(0.0, self._until - now)

    def failing(self, now: float) -> bool:
        """Whether it failed a moment ago and has not answered since: others are the better choice.
        For a moment only, or a server of a pool would never be asked again.
        """
        return self._failed_at is not None and now - self._failed_at < SHAKY

    def known(self) -> tuple[Any, ...]:
        """All that it goes by, for `learn` in another process of this machine."""
        return self._in_row, self._failed_at, self._until, self._seconds, self._closed_at

    def learn(self, known: tuple[Any, ...]) -> None:
        """Go on from what another one knows; no trial runs here."""
        self._in_row, self._failed_at, self._until, self._seconds, self._closed_at = known

    def _open(self, now: float) -> None:
        well = self._closed_at is not None and now - self._closed_at >= self.longest
        if well and not self._trial:
            self._seconds = self.open_for
        self._until = now + self._seconds
        self._seconds = min(self._seconds * 2, self.longest)
        self._trial, self._in_row = False, 0
