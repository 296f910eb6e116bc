"""Keys in a worker: what one worker finds changed, the others look at as well, at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from h2o_relay.accounting.keys import KeySource
from h2o_relay.accounting.ring import KeyRing
from h2o_relay.settings import Settings
from h2o_relay.workers.channel import Channel

ALL = 1.0  # seconds that a change waits for the others


class SharedRing(KeyRing):
    """Of the worker at this end of a channel."""

    def __init__(
        self, channel: Channel, settings: Settings, source: KeySource | None, *, internal: str,
        shut: bool,
    ) -> None:  # fmt: skip
        super().__init__(settings, source, internal=internal, shut=shut)
        self._channel = channel

    async def refresh(self) -> None:
        before = self._seen
        await super().refresh()
        if before not in (None, self._seen):
            with contextlib.suppress(Exception):  # they look by themselves every two seconds
                async with asyncio.timeout(ALL):
                    await self._channel.ask("keys_changed")

    async def prompted(self) -> None:
        """Another worker has found a change."""
        await super().refresh()


def keys_handler(others: Callable[[], Sequence[Channel]]) -> Callable[[], Awaitable[None]]:
    """For a coordinator's end of a channel: has all `others` look at the keys."""

    async def changed() -> None:
        asked = [channel.ask("look_at_keys") for channel in others()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ALL):
                await asyncio.gather(*asked, return_exceptions=True)

    return changed
