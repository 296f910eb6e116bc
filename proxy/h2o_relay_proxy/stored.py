"""The models that were added while the relay ran, in its store.

The store is imported and opened beside the API, which waits for neither: it would take longer than
all the rest of a start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from h2o_relay.administration import Keeper
from h2o_relay.errors import RelayError
from h2o_relay.settings import Settings, store_url

STORE = "h2o_relay.store"
NOT_KEPT = "models that are added while the relay runs are gone when it stops"
log = logging.getLogger(__name__)


class Stored:
    """A `Keeper` whose store may still be opening; keeps nothing if that fails."""

    def __init__(self, opening: asyncio.Future[Keeper | None]) -> None:
        self._opening = opening

    async def all(self) -> Sequence[tuple[str, Mapping[str, Any]]]:
        keeper = await asyncio.shield(self._opening)
        return [] if keeper is None else await keeper.all()

    async def put(self, id: str, entry: Mapping[str, Any]) -> None:
        keeper = await asyncio.shield(self._opening)
        if keeper is not None:
            await keeper.put(id, entry)

    async def delete(self, id: str) -> None:
        keeper = await asyncio.shield(self._opening)
        if keeper is not None:
            await keeper.delete(id)


@contextlib.asynccontextmanager
async def stored_models(settings: Settings) -> AsyncIterator[Stored]:
    """A keeper for the length of the block."""
    opening: asyncio.Future[Keeper | None] = asyncio.get_running_loop().create_future()
    owner = asyncio.create_task(_own(settings, opening), name="store")
    try:
        yield Stored(opening)
    finally:
        owner.cancel()
        await asyncio.gather(owner, return_exceptions=True)
        opening.cancel()


async def _own(settings: Settings, opening: asyncio.Future[Keeper | None]) -> None:
    try:
        store = await asyncio.to_thread(import_module, STORE)
        async with store.Store(store_url(settings)) as opened:
            log.info("%s", store.describe(store_url(settings)))
            opening.set_result(store.AddedModels(opened))
            await asyncio.Event().wait()
    except ImportError as error:
        log.warning("%s: %s is not installed", NOT_KEPT, error.name)
    except RelayError as error:
        log.warning("%s: %s", NOT_KEPT, error.message)
    except Exception:  # whoever adds a model waits for an answer
        log.exception("%s", NOT_KEPT)
    if not opening.done():
        opening.set_result(None)
