"""The models that were added while the relay ran, in its store.

The store is imported and opened beside the API, which waits for neither: it would take longer than
all the rest of a start. One that cannot be opened is tried again until it can.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from h2o_relay.administration import Keeper
from h2o_relay.errors import StoreError
from h2o_relay.settings import SettingError, Settings, store_url

STORE = "h2o_relay.store"
AGAIN = 1.0  # seconds between tries to open it
PATIENCE = 5.0  # seconds that whoever adds a model waits for the first try
MOST = 1000  # models and pools that wait for it
NOT_KEPT = "models that are added while the relay runs are gone when it stops"
WAITING = "models that are added wait in memory until the store can be opened"
log = logging.getLogger(__name__)


class Stored:
    """A `Keeper` whose store may not be there yet. What is put or deleted before it is waits in
    memory; once it was there, what it does not take is refused.
    """

    def __init__(self) -> None:
        self._keeper: Keeper | None = None
        self._there = asyncio.Event()
        self._tried = asyncio.Event()
        self._waiting: dict[str, Mapping[str, Any] | None] = {}
        """Entries by their ids; None for those that are to be deleted."""
        self._never = False

    async def all(self) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """Waits until the store can be read. Raises StoreError where it no longer can."""
        await self._there.wait()
        return [] if self._keeper is None else await self._keeper.all()

    async def put(self, id: str, entry: Mapping[str, Any]) -> None:
        """Raises StoreError, also where too many wait."""
        if await self._is_there():
            assert self._keeper is not None
            await self._keeper.put(id, entry)
        else:
            self._wait(id, entry)

    async def delete(self, id: str) -> None:
        """As `put`."""
        if await self._is_there():
            assert self._keeper is not None
            await self._keeper.delete(id)
        else:
            self._wait(id, None)

    async def _is_there(self) -> bool:
        """Whether it takes what comes; while what waited is on its way the rest waits as well."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._tried.wait(), PATIENCE)
        return self._keeper is not None and not self._waiting

    def _wait(self, id: str, entry: Mapping[str, Any] | None) -> None:
        if self._never:
            return
        if id not in self._waiting and len(self._waiting) >= MOST:
            raise StoreError(
                f"the store cannot be opened, and {MOST} changes wait for it already: the log says "
                "why it cannot"
            )
        self._waiting[id] = entry

    # For its owner.

    async def settle(self, keeper: Keeper) -> None:
        """Store what waits, and use `keeper` from now on. Raises StoreError; may be tried again."""
        try:
            await keeper.all()
            self._keeper = keeper
            self._there.set()
            count = len(self._waiting)
            while self._waiting:
                await self._settle_one(keeper, *next(iter(self._waiting.items())))
            if count:
                log.info("what was added before the store could be opened is in it now")
        finally:
            self._tried.set()

    async def _settle_one(
        self, keeper: Keeper, id: str, entry: Mapping[str, Any] | None
    ) -> None:  # fmt: skip
        await (keeper.delete(id) if entry is None else keeper.put(id, entry))
        if self._waiting[id] is entry:  # else it was changed meanwhile
            del self._waiting[id]

    def give_up(self) -> None:
        """There will be no store in this run."""
        self._never = True
        self._waiting.clear()
        self._there.set()
        self._tried.set()

    def tell(self) -> None:
        """At the end: what is lost."""
        if self._waiting:
            log.warning("%d models or pools that were added or removed are not in the store, which "
                        "could not be opened", len(self._waiting))  # fmt: skip


def check_store(settings: Settings) -> None:
    """Refuse a --store that no store can ever be at. It loads SQLAlchemy, where one is named.
    Raises SettingError.
    """
    if not settings.store or find_spec("sqlalchemy") is None:
        return
    try:
        import_module(STORE).check_url(settings.store)
    except StoreError as error:
        raise SettingError(f"--store: {error.message}") from None


@contextlib.asynccontextmanager
async def stored_models(settings: Settings) -> AsyncIterator[Stored]:
    """A keeper for the length of the block."""
    stored = Stored()
    owner = asyncio.create_task(_own(settings, stored), name="store")
    try:
        yield stored
    finally:
        owner.cancel()
        await asyncio.gather(owner, return_exceptions=True)
        stored.tell()


async def _own(settings: Settings, stored: Stored) -> None:
    try:
        store = await asyncio.to_thread(import_module, STORE)
        async with store.LastingStore(store_url(settings)) as opened:
            await _settled(stored, store.AddedModels(opened))
            log.info("%s", store.describe(store_url(settings)))
            await asyncio.Event().wait()
    except ImportError as error:
        log.warning("%s: %s is not installed", NOT_KEPT, error.name)
    except StoreError as error:  # its URL cannot be read
        log.warning("%s: %s", NOT_KEPT, error.message)
    except Exception:  # whoever adds a model waits for an answer
        log.exception("%s", NOT_KEPT)
    stored.give_up()


async def _settled(stored: Stored, keeper: Keeper) -> None:
    told = ""
    while True:
        try:
            return await stored.settle(keeper)
        except StoreError as error:
            if error.message != told:
                told = error.message
                log.warning("%s: %s", WAITING, told)
        await asyncio.sleep(AGAIN)
