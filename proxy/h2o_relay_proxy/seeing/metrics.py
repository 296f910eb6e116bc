"""`Metrics`: the relay's own counters, and GET /metrics out of them.

    metrics = Metrics()
    metrics.note(record)                        # for each request that is over
    metrics.in_flight += 1                      # and -= 1: requests that are being answered
    async with metrics.watching(): ...          # measures how late the event loop is
    body, kind = await metrics.encoded(kernel, accept)

The counters are ours: a note takes 2 µs, where the same seven histograms and eight counters of
prometheus_client 0.26 take 10 with their children at hand, and 30 if `labels` looks them up. (One
record counted again and again by CPython 3.11, the best of 40 rounds of 500.) The text is the
library's. Requests are counted on the event loop; the text is made in a thread from a copy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from h2o_relay.accounting.record import Record

from ..respond import SAFE, encoded
from .histogram import OVERHEAD, Histogram
from .series import Labels, Series
from .servers import Seen, deployments, queues
from .vocabulary import OTHER, error_codes

if TYPE_CHECKING:
    from h2o_relay.kernel import Kernel

    from ..exchange import Exchange

MOST: Final = 300
"""Sets of labels; what comes after them is counted together, as "other"."""
TICK: Final = 0.25  # seconds between looks at how late the event loop is
REST: Final = Labels(OTHER, OTHER, OTHER, "")
Lost = Callable[[], int]
log = logging.getLogger(__name__)


class Snapshot(NamedTuple):
    """All that a scrape tells, taken at one moment: nothing in it changes any more."""

    series: dict[Labels, Series]
    keys: bool
    in_flight: int
    streams: int
    overflow: int
    lag: Histogram
    lost: dict[str, int]
    deployments: list[Seen]
    queues: dict[str, int]
    pids: tuple[int, ...] = ()
    """Processes of the relay, where it has several."""


class Exposition(NamedTuple):
    body: bytes
    content_type: str


class Metrics:
    """Counts on one event loop; not for several threads."""

    def __init__(self, keys: bool = False, most: int = MOST) -> None:
        """With `keys` the requests of different keys are told apart, by the keys' ids."""
        self.in_flight = 0
        """Requests that are being answered now; for the application to count."""
        self.streams = 0
        """Streams among them that have begun."""
        self._keys = keys
        self._most = most
        self._codes = error_codes()
        self._series: dict[Labels, Series] = {}
        self._overflow = 0
        self._failed = 0
        self._lag = Histogram(OVERHEAD)
        self._lost: dict[str, Lost] = {"metrics": lambda: self._failed}
        self._scraping: asyncio.Lock | None = None
        self.together: Callable[[], Awaitable[Snapshot]] | None = None
        """Tells what all processes of the relay have counted, where it has several."""

    def note(self, record: Record) -> None:
        """Count a request that is over. Takes microseconds and never raises."""
        try:
            labels = (
                record.route, record.model, record.deployment, record.key if self._keys else "",
            )  # fmt: skip
            series = self._series.get(labels)  # type: ignore[call-overload]  # of equal tuples
            if series is None:
                series = self._new(Labels(*labels))
            series.note(record)
        except Exception:
            if not self._failed:
                log.exception("a request could not be counted")
            self._failed += 1

    def _new(self, labels: Labels) -> Series:
        if len(self._series) >= self._most:
            if not self._overflow:
                log.warning("metrics: more than %d sets of labels; the rest is counted as %r",
                            self._most, OTHER)  # fmt: skip
            self._overflow += 1
            labels = REST
        found = self._series.get(labels)
        if found is None:
            found = self._series[labels] = Series(self._codes)
        return found

    def also_lost(self, part: str, lost: Lost) -> None:
        """Tell how many records another part has lost: h2o_records_lost_total."""
        self._lost[part] = lost

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Measure inside the block how late the event loop is."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def look(due: float) -> None:
            nonlocal timer
            now = loop.time()
            self._lag.observe(now - due)
            timer = loop.call_at(now + TICK, look, now + TICK)

        due = loop.time() + TICK
        timer = loop.call_at(due, look, due)
        try:
            yield
        finally:
            timer.cancel()

    def snapshot(self, kernel: Kernel | None) -> Snapshot:
        """What there is to tell now; without a kernel nothing of its servers."""
        return Snapshot(
            series={labels: series.copy() for labels, series in self._series.items()},
            keys=self._keys,
            in_flight=self.in_flight,
            streams=self.streams,
            overflow=self._overflow,
            lag=self._lag.copy(),
            lost={part: lost() for part, lost in self._lost.items()},
            deployments=deployments(kernel) if kernel else [],
            queues=queues(kernel) if kernel else {},
        )

    async def encoded(self, kernel: Kernel | None, accept: str = "") -> Exposition:
        """The page in the form that an Accept header asks for: Prometheus' text, version 0.0.4, or
        OpenMetrics. One is made at a time.
        """
        self._scraping = self._scraping or asyncio.Lock()
        async with self._scraping:
            snapshot = await self.together() if self.together else self.snapshot(kernel)
            return await asyncio.to_thread(_encode, snapshot, accept)

    async def answer(self, kernel: Kernel, exchange: Exchange) -> None:
        """GET /metrics."""
        accept = exchange.headers.get(b"accept", b"").decode("latin-1")
        body, kind = await self.encoded(kernel, accept)
        exchange.reply(body, block=encoded([(b"content-type", kind.encode()), *SAFE]))


def _encode(snapshot: Snapshot, accept: str) -> Exposition:
    from .exposition import encode  # the library's import takes 40 ms, which is no time for a loop

    return Exposition(*encode(snapshot, accept))
