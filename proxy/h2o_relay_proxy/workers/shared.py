"""`Sharing`: the parts of a worker's desk that do not count for it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2o_relay.accounting.sliced_counters import SlicedCounters
from h2o_relay.settings import Settings
from h2o_relay.workers.channel import Channel
from h2o_relay.workers.slices_link import RemoteSlices

from .shared_ring import SharedRing

if TYPE_CHECKING:
    from h2o_relay.accounting.usage_kept import KeptUsage

    from ..key_store import KeyStore


class Sharing:
    """`opening.Shared`, for the worker at this end of a channel; adds to what that answers."""

    def __init__(self, channel: Channel, name: str) -> None:
        """`name` tells it from all other workers there have been."""
        self._channel, self._name = channel, name

    def ring(
        self, settings: Settings, source: KeyStore | None, *, internal: str, shut: bool
    ) -> SharedRing:
        ring = SharedRing(self._channel, settings, source, internal=internal, shut=shut)
        self._channel.handlers["look_at_keys"] = ring.prompted
        return ring

    def counters(self) -> SlicedCounters:
        return SlicedCounters(self._name, RemoteSlices(self._channel))

    async def seeded(self) -> None:
        await self._channel.ask("seeded")

    def follow(self, usage: KeptUsage | None) -> None:
        """Store what was noted when the coordinator is about to read it."""

        async def store() -> str:
            if usage is None:
                return ""
            await usage.flush()
            return usage.trouble

        self._channel.handlers["store_usage"] = store
