"""`LeadingKernel`: the coordinator's kernel, which workers follow.

It opens servers and looks at them as any kernel does. What it knows it tells its workers when it
changes; what they count it adds up, so that whoever shows its models and meters shows all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from ..entry import Entry, Given
from ..errors import Overloaded, RelayError, UpstreamUnavailable
from ..kernel import Kernel
from ..plugins import Plugins
from ..pools import PoolSpec
from ..settings import Settings
from ..turn import BUSY
from .channel import Channel, Handlers
from .hearing import hear
from .messages import TICK, Counts, Served, Told, told
from .sums import Follower, Sums

if TYPE_CHECKING:
    from ..accounting.prices import Prices

SETTLE = 0.01  # seconds in which changes are told together
ACKNOWLEDGED = 2.0  # seconds for workers to say that they serve what they were told
FOREVER = 3600.0


class LeadingKernel(Kernel):
    """Enter it, then `leading`; `handlers` are for the channel of each worker."""

    def __init__(
        self, settings: Settings, servers: Iterable[Given] = (), plugins: Plugins | None = None,
        pools: Iterable[PoolSpec] = (),
    ) -> None:  # fmt: skip
        super().__init__(settings, servers, plugins, pools)
        self.prices: Callable[[], Prices]
        self._followers: dict[str, Follower] = {}
        self._serials = count(1)
        self._numbers: dict[Entry, int] = {}
        self._by_number: dict[int, Entry] = {}
        self._told: dict[int, Told] = {}
        self._sums = Sums(self._followers, self._by_number)
        self._released = asyncio.Event()

    @property
    def created(self) -> int:
        """Unix time, from which the models are."""
        return self._created

    def handlers(self, name: str, channel: Callable[[], Channel]) -> Handlers:
        """What a worker may say; `name` tells it from all others there have been."""

        def follow() -> None:
            self._follow(name, channel())

        return {"follow": follow, "health": partial(self._hear, name),
                "counts": partial(self._count, name), "left": partial(self._left, name),
                "enter": partial(self._enter, name),
                "exit": partial(self._exit, name)}  # fmt: skip

    @contextlib.asynccontextmanager
    async def leading(self, prices: Callable[[], Prices]) -> AsyncIterator[None]:
        """Tell workers what changes inside the block."""
        self.prices = prices
        tasks = [
            asyncio.create_task(self._keep_telling(), name="telling workers"),
            asyncio.create_task(self._keep_adding(), name="adding up"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def spread(self) -> None:
        """Tell the workers all that has changed, and wait until they serve it; for a moment at
        most, since one may be gone or busy.
        """
        asked = [follower.channel.ask("served", served) for follower, served in self._changes(True)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ACKNOWLEDGED):
                await asyncio.gather(*asked, return_exceptions=True)

    def forget(self, name: str) -> None:
        """A worker is gone: nothing of it runs."""
        follower = self._followers.pop(name, None)
        if follower is not None:
            self._sums.leave(follower)
            self._show_queues()
            for gates in follower.inside.values():
                for gate in gates:
                    gate.release()
            self._release()

    # To the workers.

    async def _keep_telling(self) -> None:
        while True:
            await self.changed(FOREVER)
            await asyncio.sleep(SETTLE)
            self._tell_changes()

    async def _keep_adding(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self._sums.tell_others()

    def _follow(self, name: str, channel: Channel) -> None:
        self._followers[name] = Follower(channel)
        self._tell_changes()

    def _tell_changes(self) -> None:
        for follower, served in self._changes():
            follower.channel.say("served", served)

    def _changes(self, every: bool = False) -> list[tuple[Follower, Served]]:
        """What each worker is to be told; with `every` also those for whom nothing is new."""
        now: dict[int, Told] = {}
        for entry in self._entries:
            number = self._numbers.get(entry)
            if number is None:
                number = self._numbers[entry] = next(self._serials)
                self._by_number[number] = entry
                entry.health.echo = partial(self._echo, number)
            now[number] = told(entry, number)
        pools = tuple(pool.spec for pool in self._pools)
        prices, found = self.prices(), []
        for follower in self._followers.values():
            served = self._for(follower, now, pools, prices)
            if every or served.entries or follower.said != (served.order, pools, prices):
                follower.said = (served.order, pools, prices)
                found.append((follower, served))
        return found

    def _for(
        self, follower: Follower, now: dict[int, Told], pools: tuple[PoolSpec, ...], prices: Prices
    ) -> Served:
        fresh = [number for number in now if number not in follower.told]
        differ = [one for number, one in now.items() if follower.told.get(number) != one]
        health = {number: self._by_number[number].health.known() for number in fresh}
        follower.told = now
        follower.holds.update(fresh)
        return Served(
            order=tuple(now), entries=tuple(differ), health=health, pools=pools, prices=prices
        )

    def _echo(self, number: int, what: str, value: object, but: str = "") -> None:
        for name, follower in self._followers.items():
            if name != but and number in follower.holds:
                follower.channel.say("health", number, what, value)

    # From the workers.

    def _hear(self, name: str, number: int, what: str, value: object) -> None:
        """Requests of a worker have shown something of a server's health."""
        entry = self._by_number.get(number)
        if entry is not None:
            hear(entry.health, what, value)
            self._echo(number, what, value, but=name)

    def _count(self, name: str, counts: Counts) -> None:
        follower = self._followers.get(name)
        if follower is None:
            return
        self._sums.add(follower, counts)
        if counts.queues:
            self._show_queues()
        for pool, key, member in counts.places:
            for found in self._pools:
                if found.name == pool:
                    found.place(key, member)
            for other in self._followers.values():
                if other is not follower:
                    other.channel.say("place", pool, key, member)

    def _show_queues(self) -> None:
        """Where pools are asked for in this process, all who wait count."""
        queued = self._sums.queued()
        for pool in self._pools:
            pool.others = queued.get(pool.name, 0)

    async def _enter(self, name: str, number: int) -> None:
        """Wait until one more request may run on a server. Raises Overloaded."""
        entry, follower = self._by_number.get(number), self._followers.get(name)
        if entry is None or entry.link is None or follower is None:
            raise UpstreamUnavailable("the server was taken out", retry_after=1)
        gate = entry.link.gate(entry.tuning.concurrency)
        if gate is None:
            return
        if gate.locked() and gate.waiting >= self.settings.max_queue:
            raise Overloaded(
                f"{gate.waiting} requests wait for this model already.", retry_after=BUSY
            )
        await gate.acquire()
        if self._followers.get(name) is not follower:
            gate.release()
            raise RelayError("its process is gone")
        follower.inside[number].append(gate)

    def _exit(self, name: str, number: int) -> None:
        follower = self._followers.get(name)
        if follower is not None and follower.inside[number]:
            follower.inside[number].pop().release()

    def _left(self, name: str, number: int) -> None:
        """A worker has nothing to do with a server any more."""
        follower = self._followers.get(name)
        if follower is not None:
            follower.holds.discard(number)
            self._release()

    def _release(self) -> None:
        self._released.set()
        self._released = asyncio.Event()

    async def _leave(self, entry: Entry, patience: float) -> None:
        """Close it when the workers have left it, too."""
        number = self._numbers.get(entry)
        if number is not None:
            if entry.task is not None:
                entry.task.cancel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    while any(number in one.holds for one in self._followers.values()):
                        await self._released.wait()
        await super()._leave(entry, patience)
        if number is not None:
            del self._numbers[entry], self._by_number[number]
