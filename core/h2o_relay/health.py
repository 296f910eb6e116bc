"""How a server is doing: what its probes, its answers and its own reports say, as one state.

A probe is a GET that costs no token. Answers tell more: a refused key, a rate limit, a server that
fails request after request. Whoever looks takes `state_of`, which is cheap; whoever answers calls
`ended`, which costs nothing while all is well.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from .breaker import Breaker
from .errors import (
    ConnectTimeout,
    FirstByteTimeout,
    IdleTimeout,
    PluginError,
    RateLimited,
    RelayError,
    UpstreamAuthError,
    UpstreamError,
    UpstreamRedirect,
    UpstreamRejected,
    UpstreamResponseTooLarge,
    UpstreamTimeout,
    UpstreamUnavailable,
    UpstreamUnidentified,
)
from .types import Load

if TYPE_CHECKING:
    from .entry import Entry

State = Literal[
    "unknown", "healthy", "busy", "warming", "offline", "auth-error", "rate-limited", "draining"
]
STATES: Final[tuple[State, ...]] = get_args(State)
ANSWERING: Final = frozenset({"healthy", "busy"})
"""States in which a server answers."""
MEANINGS: Final[dict[State, str]] = {
    "unknown": "nobody has looked at it yet, nobody recognises what answers there, or it is there "
    "again after requests have failed, and the next one will show",
    "healthy": "it answers",
    "busy": "it answers, and requests wait for their turn",
    "warming": "it is there and loads its model",
    "offline": "it does not answer, fails request after request, or lacks the model",
    "auth-error": "it refuses the relay's key",
    "rate-limited": "it has asked for a pause",
    "draining": "it was taken out; answers that run on it end",
}
AT_FAULT = (
    UpstreamError, UpstreamUnavailable, ConnectTimeout, FirstByteTimeout, IdleTimeout, PluginError,
)  # fmt: skip
NOT_BROKEN = (
    UpstreamAuthError, UpstreamRedirect, UpstreamResponseTooLarge, UpstreamUnidentified,
)  # fmt: skip
KNOWN: Final = (
    "_away", "_failed_at", "doubted", "last_error", "last_error_at", "limited_until", "load",
    "load_in_flight", "probe_seconds", "refused", "troubled", "warming",
)  # fmt: skip
PAUSE = 1.0  # seconds that a server is left alone which limits the rate without saying how long
LONGEST_PAUSE = 60.0


def _nobody() -> None:
    pass


class Health:
    """What is known of one server's health. Times are those of `time.monotonic()`, but for
    `last_error_at`.
    """

    __slots__ = (
        "_away",
        "_failed_at",
        "_tell",
        "breaker",
        "doubted",
        "draining",
        "echo",
        "last_error",
        "last_error_at",
        "limited_until",
        "load",
        "load_in_flight",
        "probe_seconds",
        "refused",
        "troubled",
        "used",
        "warming",
    )

    def __init__(self, tell: Callable[[], None] = _nobody) -> None:
        """`tell` is called when requests have changed the state."""
        self._tell = tell
        self._away = False  # the last probe failed
        self._failed_at = 0.0  # the last request that failed
        self.breaker = Breaker()
        self.doubted = False
        """It has refused the key to a request, and has answered none since."""
        self.draining = False
        self.echo: Callable[[str, object], None] | None = None
        """Told what requests and looks have shown, where other processes are to know: which of the
        methods was called, with what."""
        self.last_error = ""
        self.last_error_at: float | None = None
        """Unix time."""
        self.limited_until = 0.0
        self.load: Load | None = None
        """The server's own report, where it makes one."""
        self.load_in_flight = 0
        """Requests of ours that ran when it made it."""
        self.probe_seconds: float | None = None
        """What the last probe took."""
        self.refused = False
        """It has refused the key, and no probe was answered since."""
        self.troubled = False
        """Something is known against it."""
        self.used = 0.0
        """When the last request was sent."""
        self.warming = False

    def tell(self, changed: Callable[[], None]) -> None:
        """From now on call `changed` when requests have changed the state."""
        self._tell = changed

    def allows(self, now: float) -> bool:
        """Whether a request may be sent, as far as failures of earlier ones tell."""
        return not self.troubled or self.breaker.allows(now)

    def began(self) -> None:
        """The first piece of an answer is there. A server that was left alone is used again: the
        rest may take minutes.
        """
        if self.troubled and (self.breaker.is_open or self.doubted):
            self._well()
            self._say("ended", None)

    def ended(self, error: BaseException | None) -> None:
        """A request is over; `error` is what ended it, None for an answer."""
        if error is None:
            if self.troubled:
                self._well()
                self._say("ended", None)
        elif isinstance(error, RelayError):
            self._wrong(error)
            self._say("ended", error)
        elif self.troubled:
            self.breaker.abandoned()

    def _well(self) -> None:
        self.breaker.succeeded(time.monotonic())
        self.troubled = self.refused = self.doubted = self.warming = False
        self.limited_until = 0.0
        self._tell()

    def _wrong(self, error: RelayError) -> None:
        now = time.monotonic()
        if isinstance(error, RateLimited):
            self._pause(error, now)
        elif isinstance(error, UpstreamAuthError):
            self.refused = self.doubted = True
        elif counts(error):
            self.breaker.failed(now)
            self.troubled, self._failed_at = True, now
            self.note(error)
            self._tell()
            return
        else:
            if self.troubled:
                self._well() if answered(error) else self.breaker.abandoned()
            return
        self.breaker.succeeded(now)
        self.troubled = True
        self.note(error)
        self._tell()

    def _pause(self, error: RateLimited, now: float) -> None:
        pause = PAUSE if error.retry_after is None else error.retry_after
        self.limited_until = now + min(pause, LONGEST_PAUSE)

    def note(self, error: RelayError) -> None:
        """Remember the last error, for people."""
        self.last_error, self.last_error_at = error.message, time.time()

    def probed(self, seconds: float) -> None:
        """A probe was answered. A server that is back is given another try at once; one that fails
        requests, and probes never, is so only when its last failure is a moment ago. Whether it
        takes the key that it refused is for the next request to show: many list models to anybody.
        """
        now = time.monotonic()
        self.probe_seconds = seconds
        self.refused = self.warming = False
        if self.troubled and (self._away or now - self._failed_at >= self.breaker.open_for):
            self.breaker.answered(now)
        self._away = False
        self._say("probed", seconds)

    def unanswered(self, error: RelayError) -> None:
        """A probe failed."""
        self.note(error)
        self.load = None
        self._away = counts(error)
        self.refused = isinstance(error, UpstreamAuthError)
        self.doubted = (
            self.doubted and not self.refused
        )  # the next probe shows what it thinks of it
        self.limited_until = 0.0
        self.warming = isinstance(error, UpstreamUnavailable) and error.upstream_status == 503
        if isinstance(error, RateLimited):
            self._pause(error, time.monotonic())
            self.troubled = True
        self._say("unanswered", error)

    def reported(self, load: Load | None, in_flight: int) -> None:
        """The server has said how busy it is."""
        self.load, self.load_in_flight = load, in_flight
        self._say("reported", (load, in_flight))

    def limited(self, now: float) -> bool:
        return self.limited_until > now

    # For other processes that send requests to the same server.

    def _say(self, what: str, value: object) -> None:
        if self.echo is not None:
            self.echo(what, value)

    def known(self) -> dict[str, Any]:
        """All that is known, for `learn` in another process of this machine."""
        return {name: getattr(self, name) for name in KNOWN} | {"breaker": self.breaker.known()}

    def learn(self, known: dict[str, Any]) -> None:
        """Go on from what another one knows."""
        for name in KNOWN:
            setattr(self, name, known[name])
        self.breaker.learn(known["breaker"])


def state_of(entry: Entry, now: float | None = None) -> tuple[State, str]:
    """A server's state and, in words, why; "" where there is nothing to say."""
    now = time.monotonic() if now is None else now
    health, link = entry.health, entry.link
    if health.draining:
        return "draining", "it was taken out; what runs on it ends"
    if health.refused:
        return "auth-error", health.last_error
    if health.limited(now):
        left = health.limited_until - now
        return "rate-limited", f"it limits the rate: {health.last_error} ({left:.0f} s left)"
    if entry.stage in ("offline", "mismatch"):
        return "warming" if health.warming else "offline", entry.reason
    if entry.stage == "opening" and link is not None and link.client is None:
        return "warming", entry.reason or "it is being started"
    if entry.stage != "ready":
        return "unknown", entry.reason
    if health.troubled and health.breaker.is_open:
        why = f"requests have failed one after another: {health.last_error}"
        if health.breaker.state(now) == "open":
            return "offline", why
        return "unknown", f"{why}; the next one is a trial"
    if health.doubted:
        return "unknown", f"{health.last_error}; the next request will show"
    if _busy(entry):
        return "busy", entry.reason
    return "healthy", entry.reason


def counts(error: RelayError) -> bool:
    """Whether an error is the server's failure. A rate limit, a refused key and an answer that is
    too large show a server that works; a limit on the whole answer says more of the question.
    """
    if error.upstream_status == 504:
        return True
    return isinstance(error, AT_FAULT) and not isinstance(error, NOT_BROKEN)


def answered(error: RelayError) -> bool:
    """Whether an error that is not the server's failure was the server's word, so that it is there:
    else it is our own, before anything was sent, or the caller's limit, and shows nothing.
    """
    if isinstance(error, UpstreamTimeout):
        return False
    return error.upstream_status is not None or isinstance(error, (UpstreamRejected, *NOT_BROKEN))


def _busy(entry: Entry) -> bool:
    load = entry.health.load
    if load is not None and load.waiting:
        return True
    limit, link = entry.tuning.concurrency, entry.link
    return limit is not None and link is not None and link.leases + link.others >= limit
