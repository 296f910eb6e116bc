"""Whether a try that failed before the first chunk is made once more, where, when and how often.

    seconds = wait_before(error, tries, random.random)     # the same server; None: not that one
    elsewhere(error)                                       # another member may do
    budget.started(now)                                    # each request, once
    if budget.take(now, active): ... budget.done()         # each retry

Rules only: the kernel waits, picks the member and counts the tries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from .errors import (
    ConnectTimeout,
    RateLimited,
    RelayError,
    UpstreamAuthError,
    UpstreamDisconnected,
    UpstreamDNSError,
    UpstreamRedirect,
    UpstreamTLSError,
    UpstreamUnavailable,
    UpstreamUnidentified,
    UpstreamUnreachable,
)

FIRST_DELAY = 0.05  # seconds, at most
LONGEST_DELAY = 1.0
PATIENCE = 1.0  # seconds that a server may ask us to wait; what asks for more is passed on

AGAIN: Final = (
    UpstreamUnreachable, UpstreamDisconnected, ConnectTimeout, UpstreamUnavailable, RateLimited,
)  # fmt: skip
"""May be over in a moment, so that the same server may be asked again."""
ELSEWHERE: Final = (
    UpstreamDNSError, UpstreamTLSError, UpstreamAuthError, UpstreamRedirect, UpstreamUnidentified,
)  # fmt: skip
"""The server was not reached, or is set up wrongly: again would be the same, and another member
may do.
"""
UNSENT: Final = (UpstreamUnreachable, UpstreamDNSError)
STATUSES: Final = frozenset({502, 503, 504, 529})
"""Of the server, or of a proxy before it: it did not get to work on the request."""


def again(error: RelayError) -> bool:
    """Whether another try may help, even on the same server."""
    return isinstance(error, AGAIN) or error.upstream_status in STATUSES


def is_retryable(error: RelayError) -> bool:
    """Whether another try may help, on some server. Never for the caller's own mistakes, never
    for an answer that makes no sense (it was generated, and would be again), nor for one that did
    not come in time.
    """
    return again(error) or isinstance(error, ELSEWHERE)


elsewhere = is_retryable
"""Whether another member of the pool may do better."""


def unsent(error: RelayError) -> bool:
    """Whether nothing was sent and no time was lost: going on to a member that was not asked yet
    burdens nobody, so that neither the budget nor the number of tries need limit it.
    """
    return isinstance(error, UNSENT)


def wait_before(error: RelayError, tries: int, rng: Callable[[], float]) -> float | None:
    """Seconds to wait before the same server is asked again, after `tries` tries; None where it is
    not to be asked: the error is passed on then, with the `retry-after` that it has.

    `rng` gives numbers from 0 to 1.
    """
    if not again(error):
        return None
    told = error.retry_after
    if told is None:
        # Without a word from it, a server that limits the rate is not pressed.
        return None if isinstance(error, RateLimited) else delay(tries, rng)
    return told + delay(tries, rng) if told <= PATIENCE else None


def delay(attempt: int, rng: Callable[[], float]) -> float:
    """Seconds before try number `attempt` + 1: full jitter, up to 0.05 s, doubling, up to 1 s."""
    return rng() * min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (min(attempt, 20) - 1))


class Budget:
    """How many retries may be made, so that servers which fail see a fifth more requests and not
    three times as many.

    Those that run at the same time: a `share` of the active requests, `floor` at least (Envoy's
    retry budget). Those begun within `window` seconds: the same share of the requests begun, and
    `floor` a second at least, since a retry that is refused at once hardly runs at all.
    """

    __slots__ = (
        "_begun", "_buckets", "_newest", "_retried", "_until", "floor", "running", "share",
        "window",
    )  # fmt: skip

    def __init__(self, share: float = 0.2, floor: int = 3, window: float = 10.0) -> None:
        self.share = share
        self.floor = floor
        self.window = window
        self.running = 0
        self._buckets: deque[list[int]] = deque()  # second, requests, retries
        self._newest: list[int] = []  # of them
        self._until = 0  # when its second is over
        self._begun = 0
        self._retried = 0

    def started(self, now: float) -> None:
        """A request begins. `now` is a time of `time.monotonic()`, here as in `take`."""
        bucket = self._newest if now < self._until else self._bucket(now)
        bucket[1] += 1
        self._begun += 1

    def take(self, now: float, active: int) -> bool:
        """Whether one more retry may be made while `active` requests run. If so, it is counted,
        and `done` must be called when it is over.
        """
        bucket = self._bucket(now)
        if self.running >= max(self.floor, self.share * active):
            return False
        if self._retried >= max(self.floor * self.window, self.share * self._begun):
            return False
        bucket[2] += 1
        self._retried += 1
        self.running += 1
        return True

    def done(self) -> None:
        """A retry is over."""
        self.running -= 1

    def _bucket(self, now: float) -> list[int]:
        second, buckets = int(now), self._buckets
        if not buckets or buckets[-1][0] != second:
            while buckets and buckets[0][0] <= second - self.window:
                _, begun, retried = buckets.popleft()
                self._begun -= begun
                self._retried -= retried
            buckets.append([second, 0, 0])
        self._newest, self._until = buckets[-1], second + 1
        return self._newest
