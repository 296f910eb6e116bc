"""The store's keys, for a relay that does not wait for its store.

SQLAlchemy takes a third of a second to load, so that this is done beside the API's start; requests
that come before the keys are known wait a moment (`KeyRing.settled`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from h2o_relay.settings import Settings, store_url

if TYPE_CHECKING:
    from h2o_relay.accounting.keys import Snapshot
    from h2o_relay.store import Keys, LastingStore

STORE = "h2o_relay.store"


class KeyStore:
    """A `KeySource`. Its database connection is its own: whoever else waits for the store holds up
    no revocation.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = store_url(settings)
        self._turn = asyncio.Lock()
        self._store: LastingStore | None = None
        self._keys: Keys | None = None

    async def keys(self) -> Keys:
        """Opened when it is first asked for. Raises StoreError."""
        async with self._turn:
            if self._keys is None:
                store = await asyncio.to_thread(import_module, STORE)
                self._store = store.LastingStore(self._url)
                await self._store.__aenter__()
                self._keys = store.Keys(self._store)
            return self._keys

    async def snapshot(self, seen: int | None) -> Snapshot | None:
        return await (await self.keys()).snapshot(seen)

    async def note_used(self, times: Mapping[str, float]) -> None:
        await (await self.keys()).note_used(times)

    async def aclose(self) -> None:
        if self._store is not None:
            await self._store.__aexit__(None, None, None)


@contextlib.asynccontextmanager
async def key_store(settings: Settings) -> AsyncIterator[KeyStore | None]:
    """For the length of the block; None where SQLAlchemy is not installed."""
    if find_spec("sqlalchemy") is None:
        yield None
        return
    store = KeyStore(settings)
    try:
        yield store
    finally:
        await store.aclose()
