"""A leading kernel and some that follow it, in one process."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from h2o_relay.accounting.prices import NO_PRICES
from h2o_relay.pools import PoolSpec
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import ScriptedUpstream, until
from h2o_relay.workers.channel import Channel, Handlers
from h2o_relay.workers.following import FollowingKernel
from h2o_relay.workers.leading import LeadingKernel

from . import plain
from .pools_kit import SOON, Backend, spec


async def connected(ours: Handlers, theirs: Handlers) -> tuple[Channel, Channel]:
    """Both ends of a channel."""
    one, other = socket.socketpair()
    return await Channel.over(one, ours), await Channel.over(other, theirs)


@dataclass
class Team:
    leader: LeadingKernel
    workers: list[FollowingKernel] = field(default_factory=list)
    channels: list[Channel] = field(default_factory=list)
    """The leader's ends."""

    async def told(self) -> None:
        """Wait until each worker serves what the leader knows."""
        await self.leader.spread()


@contextlib.asynccontextmanager
async def worker_of(team: Team, name: str, plugins: Any) -> AsyncIterator[FollowingKernel]:
    leader = team.leader
    kernel = FollowingKernel(leader.settings, leader.instance, leader.created, plugins)
    made: list[Channel] = []
    ours, theirs = await connected(leader.handlers(name, lambda: made[0]), dict(kernel.handlers))
    made.append(ours)
    async with kernel, kernel.following(theirs):
        await kernel.first.wait()
        team.workers.append(kernel)
        team.channels.append(ours)
        yield kernel
    theirs.close()
    await ours.closed
    leader.forget(name)


@contextlib.asynccontextmanager
async def team(
    *backends: Backend, count: int = 2, pools: tuple[PoolSpec, ...] = (), limit: int | None = None,
    hooks: dict[str, Callable[..., Any]] | None = None, **changes: Any,
) -> AsyncIterator[Team]:  # fmt: skip
    """An entry for each backend, called as that is. In the end nothing is left open."""
    async with contextlib.AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(ScriptedUpstream(b)) for b in backends]
        specs = [spec(u.url, b.name, limit=limit) for u, b in zip(upstreams, backends, strict=True)]
        plugins = plain.plugins(**(hooks or {}))
        leader = LeadingKernel(quick(**changes), specs, plugins, pools)
        await stack.enter_async_context(leader)
        await stack.enter_async_context(leader.leading(lambda: NO_PRICES))
        await leader.settled(SOON)
        made = Team(leader)
        for number in range(count):
            await stack.enter_async_context(worker_of(made, str(number), plugins))
        yield made
        for kernel in made.workers:
            await until(lambda kernel=kernel: kernel.active == 0, within=SOON)
