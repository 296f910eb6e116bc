"""Somebody who asks all the time, and notes how long each answer took."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from ..e2e.fleet_kit import Lag, Relay
from ..proxy.kit import chat, post
from .callers import code_of
from .mix import OK

PAUSE = 0.03  # seconds between requests
LONGEST = 30.0


@dataclass(frozen=True, slots=True)
class Probe:
    id: str
    status: int
    code: str | None
    took: float


@dataclass
class Prober:
    """Inside the block one asker streams and one does not; leaving ends them."""

    relay: Relay
    key: str
    name: str
    probes: list[Probe] = field(default_factory=list)
    lag: Lag = field(default_factory=Lag)

    async def __aenter__(self) -> Self:
        await self.lag.__aenter__()
        self._end = asyncio.Event()
        asks = (self._ask(streamed) for streamed in (True, False))
        self._tasks = [asyncio.create_task(ask) for ask in asks]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._end.set()
        try:
            await asyncio.gather(*self._tasks)
        finally:
            await self.lag.__aexit__()

    async def _ask(self, streamed: bool) -> None:
        loop, count = asyncio.get_running_loop(), 0
        while not self._end.is_set():
            count += 1
            id = f"{self.name}-{'stream' if streamed else 'whole'}-{count}"
            headers = {"Authorization": f"Bearer {self.key}", "x-request-id": id}
            start = loop.time()
            data = post(chat(streamed, model=OK), headers=headers)
            reply = await self.relay.send(data, within=LONGEST)
            took = loop.time() - start
            self.probes.append(Probe(id, reply.status, code_of(reply), took))
            await asyncio.sleep(PAUSE)

    @property
    def worst(self) -> float:
        """The 99th percentile of how long an answer took, in seconds, but for this process's own
        delay.
        """
        took = sorted(probe.took for probe in self.probes)
        return took[int(len(took) * 0.99)] - self.lag.worst

    @property
    def statuses(self) -> set[tuple[int, str | None]]:
        return {(probe.status, probe.code) for probe in self.probes}
