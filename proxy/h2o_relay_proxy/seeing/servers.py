"""How the servers behind a relay are doing, as `/metrics` tells it; holds no address of theirs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from h2o_relay.meter import Meter
from h2o_relay.types import Load

if TYPE_CHECKING:
    from h2o_relay.entry import Entry
    from h2o_relay.kernel import Kernel
    from h2o_relay.route import Route


@dataclass(frozen=True, slots=True)
class Seen:
    """A deployment at the moment of a scrape."""

    deployment: str
    """Its name; its server's id while no model of it is known."""
    plugin: str
    state: str
    """`health.State`."""
    breaker: str
    """`breaker.BreakerState`."""
    running: int
    waiting: int
    latency: float | None
    """Seconds to the first token, a moving average."""
    probe: float | None
    """Seconds that the last look at the server took."""
    server_running: int | None
    server_waiting: int | None
    """Requests, whoever sent them, where the server tells."""


def deployments(kernel: Kernel) -> list[Seen]:
    """Every deployment once; a server of which no model is known stands for itself."""
    now, seen, known = time.monotonic(), {}, set()
    for route in kernel.snapshot.routes.values():
        known.add(id(route.entry))
        seen[route.name] = _seen(route.name, route.entry, route, now)
    for entry in kernel.entries:
        if id(entry) not in known:
            seen.setdefault(entry.id, _seen(entry.id, entry, None, now))
    return list(seen.values())


def queues(kernel: Kernel) -> dict[str, int]:
    """Requests that wait for a member of a pool, by the pools' names."""
    return {pool.name: pool.waiting for pool in kernel.snapshot.pools.values()}


def _seen(name: str, entry: Entry, route: Route | None, now: float) -> Seen:
    meter = route.meter if route else Meter()
    server = entry.link.server if entry.link else entry.server
    load = entry.health.load or Load()
    return Seen(
        deployment=name,
        plugin=server.plugin or "",
        state=entry.state(now)[0],
        breaker=entry.health.breaker.state(now),
        running=meter.running,
        waiting=meter.waiting,
        latency=meter.latency,
        probe=entry.health.probe_seconds,
        server_running=load.running,
        server_waiting=load.waiting,
    )
