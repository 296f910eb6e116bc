"""Relays in front of the bench."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from h2o_relay.testing.bench import Bench
from h2o_relay.testing.upstream import Answer, Received, until

from .kit import Relay, chat, post, relay
from .raw_client import Reply


@dataclass
class Benched:
    """A relay and the bench that it asks."""

    relay: Relay
    bench: Bench

    async def ask(self, model: str, streamed: bool = True) -> Reply:
        return await self.relay.ask(post(chat(streamed, model=model)))

    async def calm(self, within: float = 2) -> None:
        """Wait until the bench answers nobody."""
        await until(lambda: not self.bench.answering, within=within)

    async def recover(self) -> None:
        """Make the relay think well of the bench, have it begin with new connections, and forget
        what was asked. Else its breaker would open after some faults, and a connection that was
        closed while idle would be tried again at once.
        """
        await self.well()
        await self.hang_up()
        self.bench.forget()

    async def well(self, within: float = 10) -> Reply:
        """Ask until there is an answer, and give that."""
        deadline = asyncio.get_running_loop().time() + within
        while (reply := await self.ask("ok")).status != 200:
            assert asyncio.get_running_loop().time() < deadline, reply
            await asyncio.sleep(0.05)
        return reply

    async def hang_up(self) -> None:
        """Close the relay's idle connections to the bench."""
        await self.calm()
        for connection in list(self.bench.connections):
            connection.abandon()
        await until(lambda: not self.bench.open, within=2)


@contextlib.asynccontextmanager
async def benched(models: Sequence[str] = (), **settings: Any) -> AsyncIterator[Benched]:
    """`models` are listed besides the bench's own. Looks at the bench, which come whenever requests
    have failed, leave no connection that is used again.
    """
    async with Bench(also=models) as bench:
        looked_at = bench.gets

        async def closing(request: Received, answer: Answer) -> None:
            await looked_at(request, answer)
            await answer.end()

        bench.gets = closing
        async with relay(servers=[f"vllm_chat:{bench.url}/v1"], **settings) as running:
            yield Benched(running, bench)
