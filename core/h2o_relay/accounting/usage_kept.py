"""`KeptUsage`: what a relay's process keeps of its requests, and tells of them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from ..errors import RelayError, StoreError
from ..settings import Settings, data_dir, store_url
from .caller import Period
from .periods import DAY
from .prices import Prices
from .record import Record
from .usage_query import UsageQuery, UsageReport
from .usage_spill import Row
from .usage_writer import UsageWriter

if TYPE_CHECKING:
    from ..store import UsageStore

STORE: Final = "h2o_relay.store"
RETAIN: Final = 3600.0  # seconds between looks for what is too old
FIRST: Final = 30.0  # seconds until the first one
BREATH: Final = 0.2  # seconds between two batches of it
log = logging.getLogger(__name__)


class KeptUsage:
    """`async with KeptUsage(settings, prices) as usage`, on the loop that calls `usage.note`.

    Entering waits for nothing: the store is imported and opened beside, and what is noted meanwhile
    is kept. It has stores of its own, whose threads wait for locks without holding up others.
    """

    def __init__(self, settings: Settings, prices: Callable[[], Prices]) -> None:
        """`prices` gives those that are in force. Raises SettingError."""
        self._url = store_url(settings)
        self._days = settings.usage_days
        self._prices = prices
        self._opened = AsyncExitStack()
        self._retaining: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._closed = False
        self._stores: dict[str, UsageStore] = {}
        self._writer = UsageWriter(self, _folder(self._url, settings))
        self.note: Callable[[Record], None] = self._writer.note
        """Take a request that is over: a sink, which costs microseconds and never raises."""

    @property
    def trouble(self) -> str:
        """Why usage is not stored, or that some is lost; "" while all is well."""
        return self._writer.trouble

    @property
    def counts(self) -> dict[str, int]:
        """Requests of this run that are `stored`, `waiting` and `dropped`, for metrics."""
        writer = self._writer
        return {"stored": writer.stored, "waiting": writer.waiting, "dropped": writer.dropped}

    async def __aenter__(self) -> Self:
        await self._writer.__aenter__()
        if self._days:
            self._retaining = asyncio.create_task(self._retain(), name="usage retention")
        return self

    async def __aexit__(self, *_: object) -> None:
        """What was noted is stored, or in a file for the next start."""
        if self._retaining is not None:
            self._retaining.cancel()
            await asyncio.gather(self._retaining, return_exceptions=True)
        await self._writer.aclose()
        async with self._turn:  # a report may be about to open one more
            self._closed = True
            await self._opened.aclose()
            self._stores.clear()

    async def flush(self) -> None:
        """Store what was noted until now, unless the store does not take it."""
        await self._writer.flush()

    async def report(self, query: UsageQuery) -> UsageReport:
        """What requests came to, those of this moment too. Raises StoreError."""
        await self._writer.flush()
        found = await (await self._store("reading")).report(query)
        return replace(found, currency=self._prices().currency, trouble=self.trouble)

    async def spent(self, period: Period) -> dict[str, float]:
        """What each key has cost in the period that is now, by `Caller.id`, requests of earlier
        runs that waited in a file too. Raises StoreError.
        """
        await self._writer.flush()
        return await (await self._store("reading")).spent(period)

    # For the writer.

    async def add(self, rows: Sequence[Row], *, again: bool = False) -> None:
        """Raises StoreError."""
        await (await self._store("writing")).add(rows, again=again)

    async def _store(self, use: str) -> UsageStore:
        """The store for `reading` or for `writing`: a report takes its time."""
        async with self._turn:
            if self._closed:
                raise StoreError("the relay stops, and its store of usage is closed")
            if use not in self._stores:
                package = await _imported()
                store = await self._opened.enter_async_context(package.LastingStore(self._url))
                self._stores[use] = package.UsageStore(store)
                if in_memory(self._url):
                    self._stores |= dict.fromkeys(("reading", "writing"), self._stores[use])
            return self._stores[use]

    async def _retain(self) -> None:
        """Delete what is older than the setting says, a little at a time."""
        await asyncio.sleep(FIRST)
        while True:
            try:
                await self._trim(time.time() - self._days * DAY)
            except RelayError as error:
                log.warning("usage of more than %d days is not deleted: %s",
                            self._days, error.message)  # fmt: skip
            await asyncio.sleep(RETAIN)

    async def _trim(self, before: float) -> None:
        store = await self._store("writing")
        while await store.trim(before):  # noqa: ASYNC110 - a pause for whoever else writes
            await asyncio.sleep(BREATH)


async def _imported() -> Any:
    try:
        return await asyncio.to_thread(import_module, STORE)
    except ImportError as error:
        raise StoreError(f"it needs {error.name}, which is not installed") from None


def in_memory(url: str) -> bool:
    """Whether a database is gone with what has it open."""
    return url.removesuffix("/").endswith((":", ":/", ":memory:"))


def _folder(url: str, settings: Settings) -> Path | None:
    """Where what the store does not take is kept: among the relay's data, for each store that was
    named in a folder of its own. None for a store that is nowhere. Raises SettingError.
    """
    if in_memory(url):
        return None
    if not settings.store:
        return data_dir(settings)
    who, at, place = url.rpartition("@")
    named = "".join((who.rpartition(":")[0] if at else "", at, place))  # a password may change
    return data_dir(settings) / f"usage-{hashlib.sha256(named.encode()).hexdigest()[:12]}"
