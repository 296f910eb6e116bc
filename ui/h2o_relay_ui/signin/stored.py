"""Keys of the relay's store, as sign-in sees them: the relay is asked, and what it says holds for a
moment.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from h2o_relay.errors import RelayError

if TYPE_CHECKING:
    from h2o_relay.accounting.caller import Caller

FRESH = 2.0  # seconds, as long as the relay takes to see that a key was revoked
KEPT = 10_000  # ids that are remembered
KEY = "key_"
"""How the ids of the store's keys begin."""
log = logging.getLogger(__name__)


class Asked(Protocol):
    """`RemoteKernel`."""

    async def caller(self, *, key: str = "", holder: str = "") -> Caller | None: ...


class StoredKeys:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._relay: Asked | None = None
        self.needed = False
        """Whether the relay asks its callers for one; true, too, until it has said so."""
        self.told = False
        """The relay has said whether."""
        self._looked = -math.inf
        self._held: dict[str, tuple[float, Caller | None]] = {}

    async def use(self, relay: Asked | None) -> None:
        """Ask this relay from now on; without one there are no such keys."""
        self._relay, self.needed, self.told = relay, relay is not None, False
        self._looked = -math.inf
        await self.look()

    async def look(self) -> None:
        """See whether a key is needed. While the relay does not tell, all stays as it was."""
        if self._relay is None or self._clock() - self._looked < FRESH:
            return
        self._looked = self._clock()
        try:
            self.needed = await self._relay.caller() is None
        except RelayError as error:
            log.debug("whether keys are needed is not known: %s", error.message)
        else:
            self.told = True

    async def id_of(self, key: str) -> str:
        """The id of a good key, "" for any other. Raises RelayError while nobody can tell."""
        found = await self._relay.caller(key=key) if self._relay is not None and key else None
        return found.id if found is not None and found.id.startswith(KEY) else ""

    async def holds(self, id: str) -> bool:
        """Whether the key of this id is still good, as far as the relay can tell."""
        at, found = self._held.get(id, (-math.inf, None))
        now = self._clock()
        if self._relay is None or now - at < FRESH:
            return found is not None
        try:
            found = await self._relay.caller(holder=id)
        except RelayError as error:
            log.debug("whether key %s is good is not known: %s", id, error.message)
        if len(self._held) >= KEPT:
            self._held.clear()
        self._held[id] = (now, found)
        return found is not None

    def held(self, id: str) -> bool:
        """What `holds` has said last."""
        return self._held.get(id, (0.0, None))[1] is not None

    def models(self, id: str) -> tuple[str, ...]:
        """What the key of this id may use, as far as is known; () for all."""
        found = self._held.get(id, (0.0, None))[1]
        return () if found is None else found.allowance.models
