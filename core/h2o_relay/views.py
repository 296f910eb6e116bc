"""A kernel's deployments as `DeploymentView`s, and its counters as `Series`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from .admin import DeploymentView, Series
from .health import State
from .meter import INTERVAL, Interval, Meter
from .pooling import Pool
from .types import Everything, Load

if TYPE_CHECKING:
    from .entry import Entry
    from .kernel import Kernel
    from .route import Route

SEEING = frozenset({"vision", "image", "images", "multimodal"})
"""What servers call it that a model takes images."""
BEST_FIRST: tuple[State, ...] = (
    "healthy", "busy", "rate-limited", "warming", "unknown", "auth-error", "offline", "draining",
)  # fmt: skip
"""States of a pool's members, of which the first that one is in is the pool's."""


def deployments(kernel: Kernel) -> list[DeploymentView]:
    """In the order of the servers; a server of which no model is known stands for itself."""
    routes: dict[int, list[Route]] = {}
    for route in kernel.snapshot.routes.values():
        routes.setdefault(id(route.entry), []).append(route)
    views = []
    for entry in kernel.entries:
        found = routes.get(id(entry))
        told = _told(entry)
        views += [_view(entry, route, told) for route in found or (None,)]
    return views + [_pool(pool) for pool in kernel.snapshot.pools.values() if pool.members]


def _told(entry: Entry) -> dict[str, Mapping[str, Any]]:
    """What the server's list says of each model."""
    return {model.id: model.raw for model in entry.models}


def _view(
    entry: Entry, route: Route | None, told: Mapping[str, Mapping[str, Any]]
) -> DeploymentView:
    deployment = route.deployment if route else None
    server = entry.link.server if entry.link else entry.server
    can = entry.link.capabilities if entry.link else None
    kinds = deployment.kinds if deployment and deployment.kinds is not None else None
    if kinds is None:
        kinds = can.kinds if can else frozenset()
    meter = route.meter if route else Meter()
    state, reason = entry.state()
    health, load = entry.health, entry.health.load or Load()
    prompt_type = entry.tuning.prompt_type
    return DeploymentView(
        id=entry.id,
        name=deployment.name if deployment else "",
        model=deployment.model if deployment else "",
        base_model=entry.base_model,
        server=server.shown,
        plugin=server.plugin,
        state=state,
        stage=entry.stage,
        reason=reason,
        since=entry.since,
        visible=deployment.visible if deployment else entry.visible is not False,
        added=entry.added,
        max_context=deployment.max_context if deployment else entry.tuning.max_seq_len,
        kinds=tuple(sorted(kinds)),
        fields=None if can is None or isinstance(can.fields, Everything) else tuple(
            sorted(can.fields)),
        vision=_sees(told.get(deployment.model, {})) if deployment else None,
        prompt_type=None if prompt_type is None else str(prompt_type),
        loadable=entry.link is not None and "set_loaded" in entry.link.plugin.hooks,
        running=meter.running,
        waiting=meter.waiting,
        latency=meter.latency,
        requests=meter.requests,
        failures=meter.failures,
        tokens=meter.tokens,
        probe=health.probe_seconds,
        server_running=load.running,
        server_waiting=load.waiting,
        last_error=health.last_error,
        last_error_at=health.last_error_at,
    )  # fmt: skip


def _pool(pool: Pool) -> DeploymentView:
    """A pool as one model: as well as its best member, as busy as all of them."""
    best, since = _leading(pool.members)
    meters = [member.meter for member in pool.members]
    latencies = [meter.latency for meter in meters if meter.latency is not None]
    names = tuple(member.name for member in pool.members)
    deployment, view = pool.deployment, _view(best.entry, best, _told(best.entry))
    return replace(
        view,
        id=f"pool-{pool.name}",
        name=pool.name,
        server=", ".join(names),
        plugin="pool",
        added=False,
        visible=True,
        loadable=False,
        max_context=deployment.max_context,
        running=sum(meter.running for meter in meters),
        waiting=pool.waiting + sum(meter.waiting for meter in meters),
        latency=min(latencies, default=None),
        requests=sum(meter.requests for meter in meters),
        failures=sum(meter.failures for meter in meters),
        tokens=sum(meter.tokens for meter in meters),
        members=names,
        strategy=pool.spec.strategy,
        since=since,
        reason=view.reason and f"{best.name}: {view.reason}",
        last_error=view.last_error and f"{best.name}: {view.last_error}",
    )


def _leading(members: Sequence[Route]) -> tuple[Route, float]:
    """The member that does best, and since when the pool does as well: it is healthy since the
    first member is, and anything else since the last one is.
    """
    states = {member: member.entry.state()[0] for member in members}
    state = min(states.values(), key=BEST_FIRST.index)
    alike = [member for member in members if states[member] == state]
    since = [member.entry.since for member in alike]
    return alike[0], min(since) if state == "healthy" else max(since)


def explained(choice: Route | Pool) -> dict[str, Any]:
    """How a request for a name would be answered now: `strategy`, and a row for each server in
    question with its `member`, `state`, `reason`, and what its strategy says of it.
    """
    if type(choice) is Pool:
        by_name = {member.name: member for member in choice.members}
        rows = [{**row, **_why(by_name[str(row["member"])])} for row in choice.explain()]
        spec = choice.spec
        told = {"strategy": spec.strategy, "queue": spec.queue, "waiting": choice.waiting,
                "fallback": spec.fallback, "missing": list(choice.missing)}  # fmt: skip
        return {"model": choice.name, "pool": True, **told, "members": rows}
    route = cast("Route", choice)
    row = {
        "member": route.name,
        "load": route.in_flight,
        "latency": route.latency,
        "in_question": route.usable,
        "chosen": True,
        "why": "it is the only server of this name",
        **_why(route),
    }
    return {"model": route.name, "pool": False, "members": [row]}


def _why(route: Route) -> dict[str, Any]:
    state, reason = route.entry.state()
    server = route.entry.link.server if route.entry.link else route.entry.server
    return {"state": state, "reason": reason, "server": server.shown, "running": route.in_flight}


def _sees(raw: Mapping[str, Any]) -> bool | None:
    """Whether a model takes images, where the server's list says so: llama.cpp and Ollama in
    `capabilities`, others in OpenRouter's `architecture.input_modalities`.
    """
    said = raw.get("capabilities")
    if said is None and isinstance(raw.get("architecture"), Mapping):
        said = raw["architecture"].get("input_modalities")
    if isinstance(said, Mapping):
        said = [key for key, value in said.items() if value]
    if not isinstance(said, list) or not said:
        return None
    return any(word in SEEING for word in said if isinstance(word, str))


def series(kernel: Kernel) -> list[Series]:
    """The last minutes of every model with a name."""
    now, wall = time.monotonic(), time.time()
    end = wall - now % INTERVAL + INTERVAL
    return [
        Series(name=name, interval=INTERVAL, end=end, **_columns(route.meter.history(now)))
        for name, route in kernel.snapshot.routes.items()
    ]


def _columns(intervals: list[Interval]) -> dict[str, Any]:
    return {
        "requests": tuple(each.requests for each in intervals),
        "tokens": tuple(each.tokens for each in intervals),
        "latency": tuple(each.waits / each.firsts if each.firsts else None for each in intervals),
    }


def named(kernel: Kernel, id: str) -> Iterator[Entry]:
    """The entry with an id, if there is one."""
    return (entry for entry in kernel.entries if entry.id == id)
