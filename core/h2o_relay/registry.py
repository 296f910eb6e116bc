"""Which model lives where: an immutable snapshot of names, rebuilt when something changed.

An entry is a server as it was configured. With a base model it is one deployment of that name,
which is there from the start, whether its server is or not; without one it is a wildcard that
stands for every model the server lists.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Literal

from .errors import InvalidRequest, ModelNotFound, UpstreamUnavailable
from .links import Link
from .meter import Meter
from .plugins import Plugins
from .preparing import renders
from .spec import ServerSpec
from .types import UNTUNED, Deployment, Model, Server, Tuning

SHOWN = 100  # characters of a model's name that an error repeats
LATEST = ":latest"
"""The tag that Ollama adds to a name without one."""
State = Literal["unidentified", "opening", "listing", "ready", "mismatch", "offline"]
"""`mismatch`: the server is there, and does not list the model that it was given for."""
Given = str | Server | tuple[str | Server, str | None] | ServerSpec
"""A server as configured: a string or a parsed one, with a base model if there is one."""


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
    display_name: str | None = None
    tuning: Tuning = UNTUNED
    visible: bool | frozenset[str] = True
    """Whether its deployments are listed, or the names of those that are."""
    id: str = field(default_factory=lambda: secrets.token_hex(4))
    since: float = field(default_factory=time.time)
    """Unix time at which `state` began; kept by `build`."""
    added: bool = False
    """While the relay ran: it can be changed and removed."""
    task: asyncio.Task[None] | None = None
    """It looks after the entry."""
    _meters: dict[str, Meter] = field(default_factory=dict)
    _state: State = "opening"

    def meter(self, model: str) -> Meter:
        """The counters of a model, by the server's own name."""
        found = self._meters.get(model)
        if found is None:
            found = self._meters[model] = Meter()
        return found

    def note_state(self) -> None:
        """Remember since when the state is what it is."""
        if self.state != self._state:
            self._state, self.since = self.state, time.time()

    @property
    def seen(self) -> bool:
        """It was looked at, so that waiting for it would not help."""
        return self.listed or self.state in ("offline", "unidentified")

    @property
    def up(self) -> bool:
        """Nothing is known that would make a request fail."""
        return self.link is not None and self.state not in ("offline", "mismatch")


def entry_of(plugins: Plugins, given: Given) -> Entry:
    """The entry for a server as configured. Raises BadServerString, PluginError."""
    if isinstance(given, tuple):
        given = ServerSpec(server=given[0], base_model=given[1])
    elif not isinstance(given, ServerSpec):
        given = ServerSpec(server=given)
    spec = given.parsed(plugins.parse)
    assert isinstance(spec.server, Server)
    return Entry(
        spec.server, spec.base_model, display_name=spec.display_name, tuning=spec.tuning,
        visible=spec.visible,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """A configured server for people: `reason` says why it is not ready."""

    server: Server
    state: State
    reason: str
    models: tuple[Model, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """A deployment, and what reaches it."""

    deployment: Deployment
    reached_by: Link | None
    entry: Entry
    mismatch: str = ""
    """Why the server is not asked, as it was when the snapshot was made."""
    renders: bool = False
    """The kernel renders its conversations (`preparing.renders`)."""
    plain: bool = True
    """Requests are sent as they are: nothing is tuned, rendered or cut."""
    meter: Meter = field(default_factory=Meter)

    @property
    def link(self) -> Link:
        """The link that reaches it. Raises UpstreamUnavailable, ModelNotFound."""
        if self.mismatch:
            raise ModelNotFound(
                f"The model `{_printable(self.deployment.name)}` cannot be used: {self.mismatch}.",
                param="model",
            )
        if self.reached_by is None:
            why = self.entry.reason or "it is not known yet what its server is"
            name = _printable(self.deployment.name)
            raise UpstreamUnavailable(f"`{name}` cannot be used: {why}", retry_after=1)
        return self.reached_by


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Names to routes, in the order in which the servers were given."""

    routes: Mapping[str, Route]
    pending: bool
    """Some server has not been looked at yet, so that a name may still turn up."""
    by_number: Mapping[int, Route] = field(default_factory=dict)
    """The first route of each entry, by the entry's place from 0 on."""

    def find(self, name: str | int | None) -> Route:
        """The route for a name, or for an entry's number; for None the first that is up.

        Raises ModelNotFound, InvalidRequest; UpstreamUnavailable if there is none at all.
        """
        if name is None:
            return self._first()
        if isinstance(name, str):
            route = self.routes.get(name)
            if route is None and name.isascii() and name.isdecimal() and len(name) < 6:
                route = self.by_number.get(int(name))
        elif isinstance(name, int) and not isinstance(name, bool):
            route = self.by_number.get(name)
        else:
            raise InvalidRequest("'model' must be a string", param="model", code="invalid_type")
        if route is None:
            raise self._not_found(str(name))
        return route

    def _first(self) -> Route:
        """For requests that name no model: the first one that is listed and whose server is up,
        else the first one that is listed.
        """
        waiting = None
        for route in self.routes.values():
            if route.deployment.visible:
                if route.entry.up:
                    return route
                waiting = waiting or route
        if waiting is None:
            raise UpstreamUnavailable("no model is available yet", retry_after=1)
        return waiting

    def _not_found(self, name: str) -> ModelNotFound:
        near = get_close_matches(name[:SHOWN], list(self.routes), n=3, cutoff=0.4)
        listed = [n for n, route in self.routes.items() if route.deployment.visible]
        offered = near or listed[:3]
        hint = f" Did you mean {', '.join(offered)}?" if offered else " No model is available."
        return ModelNotFound(f"The model `{_printable(name)}` does not exist.{hint}", param="model")


def _printable(name: str) -> str:
    shown = name if len(name) <= SHOWN else name[:SHOWN] + "…"
    return "".join(c if c.isprintable() and c not in "<>&" else "?" for c in shown)


EMPTY = Snapshot(MappingProxyType({}), pending=False)


def build(entries: Iterable[Entry], created: int | None = None) -> Snapshot:
    """The snapshot for these entries. A name that is taken gets `_1`, `_2` and so on after it."""
    routes: dict[str, Route] = {}
    by_number: dict[int, Route] = {}
    created = int(time.time()) if created is None else created
    pending = False
    for place, entry in enumerate(entries):
        entry.note_state()
        pending = pending or not entry.seen
        if entry.itself:
            continue
        for deployment in deployments(entry, created):
            name, number = deployment.name, 0
            while name in routes:
                number += 1
                name = f"{deployment.name}_{number}"
            visible = entry.visible if isinstance(entry.visible, bool) else name in entry.visible
            if number or not visible:
                deployment = replace(deployment, name=name, visible=visible)
            routes[name] = route(deployment, entry.link, entry)
            by_number.setdefault(place, routes[name])
    return Snapshot(MappingProxyType(routes), pending, MappingProxyType(by_number))


def route(deployment: Deployment, link: Link | None, entry: Entry) -> Route:
    """A route, with what can be told beforehand of its requests."""
    meter = entry.meter(deployment.model)
    if link is None:
        return Route(deployment, None, entry, meter=meter)
    mismatch = entry.reason if entry.state == "mismatch" else ""
    rendered = renders(deployment, link.capabilities)
    plain = not rendered and deployment.tuning == UNTUNED and "stop" in link.capabilities.fields
    return Route(deployment, link, entry, mismatch, rendered, plain, meter)


def deployments(entry: Entry, created: int) -> list[Deployment]:
    """What an entry offers, as far as is known."""
    server = entry.link.server if entry.link else entry.server
    if entry.base_model is not None:
        model = upstream_model(entry.base_model, server, entry.models)
        found = next((m for m in entry.models if m.id == model), None)
        found = found or Model(id=model or entry.base_model)
        name = entry.display_name or entry.base_model
        return [_deployment(entry, server, found, name, created)]
    if entry.link is None:
        return []
    models = entry.models
    if not models and server.model is not None:
        models = [Model(id=server.model)]
    unique = {m.id: m for m in models}
    return [_deployment(entry, server, model, model.id, created) for model in unique.values()]


def _deployment(
    entry: Entry, server: Server, model: Model, name: str, created: int
) -> Deployment:  # fmt: skip
    return Deployment(
        name=name,
        server=server,
        model=model.id,
        base_model=entry.base_model,
        max_context=entry.tuning.max_seq_len or model.max_context,
        kinds=model.kinds,
        tuning=entry.tuning,
        owned_by=server.plugin or "",
        created=created,
    )


def upstream_model(base_model: str, server: Server, models: Iterable[Model]) -> str | None:
    """The server's own name for a base model; None if it lists others, and not this one.

    It is what the operator or the server string says, else the only model that the server lists
    (h2oGPT's rule), else the one of the same name. A server that lists nothing is asked by that
    name.
    """
    if server.model is not None:
        return server.model
    names = [model.id for model in models]
    if len(names) == 1:
        return names[0]
    if not names:
        return base_model
    return next((name for name in (base_model, base_model + LATEST) if name in names), None)
