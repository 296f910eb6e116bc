"""`LastingStore`: a store that need not be there yet, and that is opened again when it was gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self, TypeVar

from sqlalchemy.orm import Session

from ..errors import StoreError
from .database import Store
from .engine import read_url

T = TypeVar("T")
AGAIN = 1.0  # seconds between tries to open a store that could not be opened


class Runs(Protocol):
    """`Store`, or `LastingStore`."""

    async def run(self, work: Callable[[Session], T], *, write: bool = True) -> T: ...


class LastingStore:
    """Entering it opens nothing, and does not fail: the store is opened when it is first used, and
    tried again when that fails.

    It has a thread of its own, as every `Store`: what waits for a lock here holds up nobody else.
    """

    def __init__(self, url: str) -> None:
        """`url` is SQLAlchemy's. Raises StoreError for one that cannot be read."""
        read_url(url)
        self._url = url
        self._store: Store | None = None
        self._turn = asyncio.Lock()
        self._failed: tuple[float, StoreError] | None = None
        self._closed = True

    async def __aenter__(self) -> Self:
        self._closed = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        async with self._turn:
            self._closed = True
            store, self._store = self._store, None
            if store is not None:
                await store.__aexit__(None, None, None)

    async def run(self, work: Callable[[Session], T], *, write: bool = True) -> T:
        """As `Store.run`. Raises StoreError, also while it cannot be opened."""
        store = await self._opened()
        return await store.run(work, write=write)

    async def _opened(self) -> Store:
        async with self._turn:
            if self._closed:
                raise StoreError("the store is not open")
            if self._store is None:
                self._store = await self._enter()
            return self._store

    async def _enter(self) -> Store:
        if self._failed is not None and time.monotonic() < self._failed[0]:
            raise StoreError(self._failed[1].message)
        store = Store(self._url)
        try:
            await store.__aenter__()
        except StoreError as error:
            self._failed = (time.monotonic() + AGAIN, error)
            raise
        self._failed = None
        return store
