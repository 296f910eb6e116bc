"""/metrics of several processes: each counts for itself, the coordinator adds up.

A worker tells what has changed when it is asked: for each scrape, and every two seconds besides, so
that what a worker has counted is not gone with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

from h2o_relay.kernel import Kernel
from h2o_relay.workers.channel import Channel

from ..seeing.histogram import OVERHEAD, Histogram
from ..seeing.metrics import MOST, REST, Metrics, Snapshot
from ..seeing.series import Labels, Series
from ..seeing.servers import deployments, queues

EVERY: Final = 2.0
PATIENCE: Final = 1.0  # seconds for a worker to answer


class Telling:
    """A worker's side."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._told: dict[Labels, dict[tuple[str, str], int]] = {}

    def counted(self) -> Snapshot:
        """All that was counted here; of the series those alone that have changed since."""
        found = self._metrics.snapshot(None)
        changed = {
            labels: series
            for labels, series in found.series.items()
            if self._told.get(labels) != series.outcomes
        }
        self._told |= {labels: series.outcomes.copy() for labels, series in changed.items()}
        return found._replace(series=changed, pids=(os.getpid(),))


class Adding:
    """The coordinator's side."""

    def __init__(
        self, kernel: Kernel, keys: bool, channels: Callable[[], Mapping[str, Channel]],
        lost: Callable[[], Mapping[str, int]],
    ) -> None:  # fmt: skip
        """`channels` are those of the workers by their names, and `lost` what this process itself
        has lost.
        """
        self._kernel, self._keys, self._lost = kernel, keys, lost
        self._channels = channels
        self._latest: dict[str, Snapshot] = {}
        self._gone = nothing(keys)

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Ask the workers now and then inside the block."""
        task = asyncio.create_task(self._watch(), name="metrics of workers")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def snapshot(self) -> Snapshot:
        """What all have counted."""
        await self._ask_all()
        total = merged([self._gone, *self._latest.values()], self._keys)
        lost = total.lost
        for part, count in self._lost().items():
            lost[part] = lost.get(part, 0) + count
        return total._replace(
            deployments=deployments(self._kernel), queues=queues(self._kernel),
            pids=(os.getpid(), *total.pids),
        )  # fmt: skip

    def note(self, name: str, told: Snapshot) -> None:
        """What a worker has counted, its series as far as they have changed."""
        known = self._latest.get(name)
        series = told.series if known is None else {**known.series, **told.series}
        self._latest[name] = told._replace(series=series)

    def forget(self, name: str) -> None:
        """A worker is gone: what it has counted stays."""
        last = self._latest.pop(name, None)
        if last is not None:
            ended = last._replace(in_flight=0, streams=0, pids=())
            self._gone = merged([self._gone, ended], self._keys)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            await self._ask_all()

    async def _ask_all(self) -> None:
        asked = [self._asked(name, channel) for name, channel in self._channels().items()]
        await asyncio.gather(*asked)

    async def _asked(self, name: str, channel: Channel) -> None:
        """One that is busy, or has just gone, is counted as it was."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(PATIENCE):
                self.note(name, await channel.ask("counted", unwanted=lambda t: self.note(name, t)))


def nothing(keys: bool) -> Snapshot:
    """Nothing was counted."""
    return Snapshot({}, keys, 0, 0, 0, Histogram(OVERHEAD), {}, [], {})


def merged(snapshots: list[Snapshot], keys: bool) -> Snapshot:
    """All of them as one. What there is no room for any more is counted together."""
    total = nothing(keys)
    for one in snapshots:
        for labels, series in one.series.items():
            _add(total.series, labels, series)
        total.lag.add(one.lag)
        for part, count in one.lost.items():
            total.lost[part] = total.lost.get(part, 0) + count
        total = total._replace(
            in_flight=total.in_flight + one.in_flight, streams=total.streams + one.streams,
            overflow=total.overflow + one.overflow, pids=(*total.pids, *one.pids),
        )  # fmt: skip
    return total


def _add(into: dict[Labels, Series], labels: Labels, series: Series) -> None:
    known = into.get(labels)
    if known is None and len(into) >= MOST:
        labels = REST
        known = into.get(labels)
    if known is None:
        into[labels] = series.copy()
    else:
        known.add(series)
