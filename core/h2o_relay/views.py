"""A kernel's deployments as `DeploymentView`s, and its counters as `Series`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .admin import DeploymentView, Series
from .meter import INTERVAL, Interval, Meter
from .types import Everything

if TYPE_CHECKING:
    from .kernel import Kernel
    from .registry import Entry, Route

SEEING = frozenset({"vision", "image", "images", "multimodal"})
"""What servers call it that a model takes images."""


def deployments(kernel: Kernel) -> list[DeploymentView]:
    """In the order of the servers; a server of which no model is known stands for itself."""
    routes: dict[int, list[Route]] = {}
    for route in kernel.snapshot.routes.values():
        routes.setdefault(id(route.entry), []).append(route)
    views = []
    for entry in kernel.entries:
        found = routes.get(id(entry))
        views += [_view(entry, route) for route in found] if found else [_view(entry, None)]
    return views


def _view(entry: Entry, route: Route | None) -> DeploymentView:
    deployment = route.deployment if route else None
    server = entry.link.server if entry.link else entry.server
    can = entry.link.capabilities if entry.link else None
    kinds = deployment.kinds if deployment and deployment.kinds is not None else None
    if kinds is None:
        kinds = can.kinds if can else frozenset()
    meter = route.meter if route else Meter()
    prompt_type = entry.tuning.prompt_type
    return DeploymentView(
        id=entry.id,
        name=deployment.name if deployment else "",
        model=deployment.model if deployment else "",
        base_model=entry.base_model,
        server=server.shown,
        plugin=server.plugin,
        state=entry.state,
        reason=entry.reason,
        since=entry.since,
        visible=deployment.visible if deployment else entry.visible is not False,
        added=entry.added,
        max_context=deployment.max_context if deployment else entry.tuning.max_seq_len,
        kinds=tuple(sorted(kinds)),
        fields=None if can is None or isinstance(can.fields, Everything) else tuple(
            sorted(can.fields)),
        vision=_sees(entry, deployment.model) if deployment else None,
        prompt_type=None if prompt_type is None else str(prompt_type),
        loadable=entry.link is not None and "set_loaded" in entry.link.plugin.hooks,
        running=meter.running,
        waiting=meter.waiting,
        latency=meter.latency,
        requests=meter.requests,
        failures=meter.failures,
        tokens=meter.tokens,
    )  # fmt: skip


def _sees(entry: Entry, name: str) -> bool | None:
    """Whether a model takes images, where the server's list says so: llama.cpp and Ollama in
    `capabilities`, others in OpenRouter's `architecture.input_modalities`.
    """
    raw = next((model.raw for model in entry.models if model.id == name), {})
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
