"""`FollowingKernel`: the kernel of a worker, which serves what its coordinator says.

It looks at no server itself, starts none, and reads no configuration. What its requests show of a
server's health it tells, and hears what those of other workers have shown.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

from .. import applying
from ..accounting.prices import NO_PRICES
from ..entry import Entry, entry_of
from ..errors import RelayError
from ..kernel import Kernel
from ..plugins import Plugins
from ..settings import Settings
from .channel import Channel, Handlers
from .counter import Counter
from .followed_link import FollowedLink
from .hearing import hear
from .messages import TICK, Others, Served, Told

if TYPE_CHECKING:
    from ..accounting.prices import Prices


class FollowingKernel(Kernel):
    """Enter it, give the coordinator's channel `handlers`, then enter `following`."""

    def __init__(
        self, settings: Settings, instance: str, created: int, plugins: Plugins | None = None
    ) -> None:
        """`instance` and `created` are the coordinator's."""
        super().__init__(settings, (), plugins)
        self.instance, self._created = instance, created
        self.prices: Prices = NO_PRICES
        self.first = asyncio.Event()
        """Set when it knows what is served."""
        self._by_number: dict[int, Entry] = {}
        self._closing: dict[Entry, int] = {}
        self._counter = Counter()
        self._channel: Channel | None = None

    @property
    def handlers(self) -> Handlers:
        return {"served": self._serve, "health": self._hear, "others": self._note_others,
                "place": self._place}  # fmt: skip

    @contextlib.asynccontextmanager
    async def following(self, channel: Channel) -> AsyncIterator[None]:
        """Follow the coordinator at the other end of a channel inside the block."""
        self._channel = channel
        channel.say("follow")
        telling = asyncio.create_task(self._tell(), name="counts")
        try:
            yield
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    def tell_counts(self) -> None:
        """Tell now what would be told in a moment."""
        closing = {number: entry for entry, number in self._closing.items()}
        counts = self._counter.counts({**closing, **self._by_number}, self._pools)
        if counts and self._channel is not None:
            self._channel.say("counts", counts)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.tell_counts()

    # What the coordinator says.

    def _serve(self, served: Served) -> None:
        self.prices = served.prices
        for told in served.entries:
            entry = self._by_number.get(told.number)
            if entry is None:
                entry = self._by_number[told.number] = self._joined(told)
                entry.health.learn(dict(served.health[told.number]))
                entry.health.tell(partial(self._shifted, entry))
                entry.health.echo = partial(self._echo, told.number)
            try:
                self._learn(entry, told)
            except RelayError as error:  # its plugin is broken, or not here
                entry.stage, entry.reason = "offline", error.message
        kept = set(served.order)
        gone = [number for number in self._by_number if number not in kept]
        closed = {number: self._by_number.pop(number) for number in gone}
        self._entries = [self._by_number[number] for number in served.order]
        self._pools, _ = applying.pools(self._pools, served.pools)
        for pool in self._pools:
            pool.moved()  # from now on it notes them
        self.rebuild()
        for entry in self._entries:
            entry.shifted()  # who waits for it is told
        for number, entry in closed.items():
            self._closing[entry] = number
            self._retire([entry])
        self.first.set()

    def _joined(self, told: Told) -> Entry:
        entry = entry_of(self.plugins, told.spec)
        entry.id, entry.added = told.id, told.added
        return entry

    def _learn(self, entry: Entry, told: Told) -> None:
        if entry.spec != told.spec:
            entry.adjust(told.spec)
        entry.visible = told.visible
        entry.stage, entry.reason = told.stage, told.reason
        entry.models, entry.listed = list(told.models), told.listed
        entry.itself = told.itself
        server = told.server
        if server is None:
            return
        if entry.link is None:
            assert server.plugin is not None
            assert self._channel is not None
            chosen = entry.added and entry.server.url is not None
            http = self._guarded if chosen else self._http
            link = FollowedLink(self.plugins.get(server.plugin), server, http)
            link.share(self._channel, told.number)
            entry.link = link
        assert isinstance(entry.link, FollowedLink)
        entry.link.follow(told)

    async def _leave(self, entry: Entry, patience: float) -> None:
        await super()._leave(entry, patience)
        self.tell_counts()
        number = self._closing.pop(entry, None)
        if self._channel is not None and number is not None:
            self._counter.forget(number)
            self._channel.say("left", number)

    def _hear(self, number: int, what: str, value: object) -> None:
        entry = self._by_number.get(number)
        if entry is not None:
            hear(entry.health, what, value)

    def _echo(self, number: int, what: str, value: object) -> None:
        if self._channel is not None:
            self._channel.say("health", number, what, value)

    def _note_others(self, others: Others) -> None:
        """What the other workers have to do."""
        for number, running in others.leases.items():
            entry = self._by_number.get(number)
            if entry is not None and entry.link is not None:
                entry.link.others = running
                for pool in entry.pools:
                    pool.wake()
        for pool in self._pools:
            pool.others = others.queues.get(pool.name, pool.others)

    def _place(self, pool: str, key: int, member: str) -> None:
        for one in self._pools:
            if one.name == pool:
                one.place(key, member)
