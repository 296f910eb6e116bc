"""Everything that counts requests, opened for as long as the relay serves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Final, Protocol

from h2o_relay.accounting.caller import Period
from h2o_relay.accounting.limits import Counters, Limits, open_counters
from h2o_relay.accounting.prices import Prices
from h2o_relay.accounting.ring import KeyRing
from h2o_relay.accounting.stored_keys import none_stored
from h2o_relay.accounting.usage_kept import KeptUsage
from h2o_relay.errors import RelayError
from h2o_relay.kernel import Kernel
from h2o_relay.settings import Settings, environment, store_url

from .behind_page import BehindPage
from .desk import Desk
from .key_store import KeyStore, key_store
from .seeing.metrics import Metrics
from .seeing.request_log import RequestLog
from .seeing.tracing import Tracing

PERIODS: Final[tuple[Period, ...]] = ("day", "month", "total")
AGAIN = 2.0  # seconds between two tries to learn what was spent before
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """The desk, and what answers questions about it; None for what there is not."""

    desk: Desk
    keys: KeyStore | None
    usage: KeptUsage | None
    metrics: Metrics | None


class Shared(Protocol):
    """What a worker does not do by itself alone."""

    def ring(
        self, settings: Settings, source: KeyStore | None, *, internal: str, shut: bool
    ) -> KeyRing: ...

    def counters(self) -> Counters: ...

    async def seeded(self) -> None:
        """Returns when the counters know what was spent before."""


@contextlib.asynccontextmanager
async def opened_desk(
    kernel: Kernel, settings: Settings, prices: Callable[[], Prices], internal: str,
    shared: Shared | None = None,
) -> AsyncIterator[Opened]:  # fmt: skip
    """A desk for the relay that serves `kernel`; `internal` is the chat page's key. Raises
    SettingError.
    """
    async with contextlib.AsyncExitStack() as stack:
        keys = await stack.enter_async_context(key_store(settings))
        kind = KeyRing if shared is None else shared.ring
        ring = kind(settings, keys, internal=internal, shut=not settings.serves_api)
        await stack.enter_async_context(ring)
        if keys is not None and await asyncio.to_thread(none_stored, store_url(settings)):
            ring.begin_empty()
        counting = None if settings.limits_url else shared
        counters = counting.counters() if counting else open_counters(settings.limits_url)
        limits = Limits(counters, seeded=False)
        stack.push_async_callback(limits.aclose)
        usage = None
        if find_spec("sqlalchemy") is not None:
            usage = KeptUsage(settings if shared is None else without_retention(settings), prices)
            await stack.enter_async_context(usage)
        metrics = Metrics(settings.metrics_keys) if settings.metrics else None
        lines = RequestLog.configured(settings.request_log, settings.log_format, settings.log_level)
        tracing = Tracing.configured(settings.otel_endpoint, environment())
        if lines is not None:
            stack.push_async_callback(lines.close)
        if tracing is not None:
            stack.push_async_callback(tracing.close)
        if metrics is not None:
            await stack.enter_async_context(metrics.watching())
            _losses(metrics, lines, tracing, usage)
        knowing = _told(limits, counting) if counting else seed(limits, usage)
        seeding = asyncio.create_task(knowing, name="budgets")
        stack.callback(seeding.cancel)
        kernel.counts = True
        page = BehindPage(settings, ring)
        sinks = [] if lines is None else [lines]
        desk = Desk(kernel, ring, limits, prices, sinks, usage, metrics, page, tracing)
        await stack.enter_async_context(desk.troubles.watching())
        yield Opened(desk, keys, usage, metrics)


def without_retention(settings: Settings) -> Settings:
    """For a worker: what is too old is deleted by one process."""
    return replace(settings, usage_days=0)


def _losses(
    metrics: Metrics, lines: RequestLog | None, tracing: Tracing | None, usage: KeptUsage | None
) -> None:
    """Have the metrics tell what others have lost."""
    if lines is not None:
        metrics.also_lost("request_log", lambda: lines.lost)
    if tracing is not None:
        metrics.also_lost("traces", lambda: tracing.lost)
    if usage is not None:
        metrics.also_lost("usage", lambda: usage.counts["dropped"])


async def _told(limits: Limits, shared: Shared) -> None:
    """Wait until those who count know what keys have spent before."""
    await shared.seeded()
    limits.seeded = True


async def seed(limits: Limits, usage: KeptUsage | None) -> None:
    """Tell the limits what keys have spent before, as soon as the store can be asked."""
    told = ""
    while usage is not None:
        try:
            for period in PERIODS:
                for key, spent in (await usage.spent(period)).items():
                    limits.seed(key, period, spent)
            break
        except RelayError as error:
            if error.message != told:
                told = error.message
                log.warning("budgets: what was spent before is not known yet: %s", told)
            await asyncio.sleep(AGAIN)
        except Exception:  # keys with a budget are answered 503 until it is known
            log.exception("budgets: what was spent before cannot be read")
            await asyncio.sleep(AGAIN)
    limits.seeded = True
