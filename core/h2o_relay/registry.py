"""Which model lives where: an immutable snapshot of names, rebuilt when something changed.

An entry is a server as it was configured. With a base model it is one deployment of that name;
without one it is a wildcard that stands for every model the server lists.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Literal

from .errors import InvalidRequest, ModelNotFound, UpstreamUnavailable
from .links import Link
from .preparing import renders
from .types import UNTUNED, Deployment, Model, Server

SHOWN = 100  # characters of a model's name that an error repeats
State = Literal["unidentified", "opening", "listing", "ready", "offline"]


@dataclass(slots=True)
class Entry:
    """A configured server and what is known of it now."""

    server: Server
    base_model: str | None = None
    link: Link | None = None
    models: list[Model] = field(default_factory=list)
    listed: bool = False
    """A list was had at least once; it stays while the server is away."""
    itself: bool = False
    """It is this very relay: nothing may be sent to it, or it would go round in circles."""
    state: State = "opening"
    reason: str = ""

    @property
    def seen(self) -> bool:
        """It was looked at, so that waiting for it would not help."""
        return self.listed or self.state in ("offline", "unidentified")


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """A configured server for people: `reason` says why it is not ready."""

    server: Server
    state: State
    reason: str
    models: tuple[Model, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """A deployment and the link that reaches it."""

    deployment: Deployment
    link: Link
    entry: Entry
    renders: bool = False
    """The kernel renders its conversations (`preparing.renders`)."""
    plain: bool = True
    """Requests are sent as they are: nothing is tuned, rendered or cut."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Names to routes, in the order in which the servers were given."""

    routes: Mapping[str, Route]
    pending: bool
    """Some server has not been looked at yet, so that a name may still turn up."""

    def find(self, name: str | None) -> Route:
        """The route for a name; the first one for None. Raises ModelNotFound, InvalidRequest."""
        if name is None:
            if self.routes:
                return next(iter(self.routes.values()))
            raise UpstreamUnavailable("no model is available yet", retry_after=1)
        if not isinstance(name, str):
            raise InvalidRequest("'model' must be a string", param="model", code="invalid_type")
        route = self.routes.get(name)
        if route is None:
            raise self._not_found(name)
        return route

    def _not_found(self, name: str) -> ModelNotFound:
        near = get_close_matches(name[:SHOWN], list(self.routes), n=3, cutoff=0.4)
        offered = near or list(self.routes)[:3]
        hint = f" Did you mean {', '.join(offered)}?" if offered else " No model is available."
        shown = name if len(name) <= SHOWN else name[:SHOWN] + "…"
        shown = "".join(c if c.isprintable() and c not in "<>&" else "?" for c in shown)
        return ModelNotFound(f"The model `{shown}` does not exist.{hint}", param="model")


EMPTY = Snapshot(MappingProxyType({}), pending=False)


def build(entries: Iterable[Entry], created: int | None = None) -> Snapshot:
    """The snapshot for these entries. A name that is taken gets `_1`, `_2` and so on after it."""
    routes: dict[str, Route] = {}
    created = int(time.time()) if created is None else created
    pending = False
    for entry in entries:
        pending = pending or not entry.seen
        if entry.link is None or entry.itself:
            continue
        for deployment in deployments(entry, created):
            name, number = deployment.name, 0
            while name in routes:
                number += 1
                name = f"{deployment.name}_{number}"
            if number:
                deployment = replace(deployment, name=name)
            routes[name] = route(deployment, entry.link, entry)
    return Snapshot(MappingProxyType(routes), pending)


def route(deployment: Deployment, link: Link, entry: Entry) -> Route:
    """A route, with what can be told beforehand of its requests."""
    rendered = renders(deployment, link.capabilities)
    plain = not rendered and deployment.tuning == UNTUNED and "stop" in link.capabilities.fields
    return Route(deployment, link, entry, rendered, plain)


def deployments(entry: Entry, created: int) -> list[Deployment]:
    """What an entry offers, as far as is known."""
    server = entry.link.server if entry.link else entry.server
    owner = server.plugin or ""
    if entry.base_model is not None:
        model = _upstream_model(entry, server)
        found = next((m for m in entry.models if m.id == model), None)
        context = found.max_context if found else None
        return [
            Deployment(
                name=entry.base_model, server=server, model=model, base_model=entry.base_model,
                max_context=context, kinds=found.kinds if found else None, owned_by=owner,
                created=created,
            )
        ]  # fmt: skip
    models = entry.models
    if not models and server.model is not None:
        models = [Model(id=server.model)]
    unique = {m.id: m for m in models}
    return [
        Deployment(
            name=m.id, server=server, model=m.id, max_context=m.max_context,
            kinds=m.kinds, owned_by=owner, created=created,
        )
        for m in unique.values()
    ]  # fmt: skip


def _upstream_model(entry: Entry, server: Server) -> str:
    """h2oGPT's rule: the only model that the server has, else the one of the same name."""
    if server.model is not None:
        return server.model
    if len(entry.models) == 1:
        return entry.models[0].id
    return entry.base_model or ""
