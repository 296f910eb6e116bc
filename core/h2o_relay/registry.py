"""Which model lives where: an immutable snapshot of names, rebuilt when something changed.

An entry is a server as it was configured. With a base model it is one deployment of that name,
which is there from the start, whether its server is or not; without one it is a wildcard that
stands for every model the server lists. A pool is several deployments under one name.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from types import MappingProxyType

from .entry import Entry
from .errors import InvalidRequest, ModelNotFound, UpstreamUnavailable
from .links import Link
from .pooling import Pool
from .preparing import renders
from .route import SHOWN, Route, printable
from .types import ALL, UNTUNED, Deployment, Kind, Model, Server

NUMBER = re.compile("0|[1-9][0-9]{0,4}")
"""How an entry's number is written."""
LATEST = ":latest"
"""The tag that Ollama adds to a name without one."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Names to routes, in the order in which the servers were given."""

    routes: Mapping[str, Route]
    pending: bool
    """Some server has not been looked at yet, so that a name may still turn up."""
    by_number: Mapping[int, Route] = field(default_factory=dict)
    """The first route of each entry, by the entry's place from 0 on."""
    by_base: Mapping[str, Sequence[Route]] = field(default_factory=dict)
    """The routes of each base model."""
    pools: Mapping[str, Pool] = field(default_factory=dict)

    def choice(self, name: str | int | None) -> Route | Pool:
        """What a request for a name is sent to: a pool goes before a deployment of that name.
        Raises what `find` does.
        """
        pool = self.pools.get(name) if self.pools and isinstance(name, str) else None
        return self.find(name) if pool is None else pool

    def find(self, name: str | int | None) -> Route:
        """The route for a name, a base model or an entry's number, in this order, which is
        h2oGPT's; for None the first that is up.

        Raises ModelNotFound, InvalidRequest; UpstreamUnavailable if there is none at all.
        """
        if name is None:
            found = first(self.routes.values())
            if found is None:
                raise UpstreamUnavailable("no model is available yet", retry_after=1)
            return found
        if isinstance(name, str):
            route = self.routes.get(name) or self._based(name)
            if route is None and NUMBER.fullmatch(name):
                route = self.by_number.get(int(name))
        elif isinstance(name, int) and not isinstance(name, bool):
            route = self.by_number.get(name)
        else:
            raise InvalidRequest("'model' must be a string", param="model", code="invalid_type")
        if route is None:
            raise self.not_found(str(name))
        return route

    def _based(self, name: str) -> Route | None:
        """The one that answers for a base model: of several as if no other models were there.
        What is not listed answers where nothing else does.
        """
        routes = self.by_base.get(name, ())
        return first(routes) or next(iter(routes), None)

    def not_found(self, name: str) -> ModelNotFound:
        """What a name is answered with that nobody has; it offers listed models alone."""
        listed = [n for n, route in self.routes.items() if route.deployment.visible]
        return not_found(name, dict.fromkeys([*self.pools, *listed]))


def not_found(name: str, listed: Iterable[str]) -> ModelNotFound:
    """For a model that does not exist, to who may know of these."""
    names = list(listed)
    near = get_close_matches(name[:SHOWN], names, n=3, cutoff=0.4)
    offered = near or names[:3]
    hint = f" Did you mean {', '.join(offered)}?" if offered else " No model is available."
    return ModelNotFound(f"The model `{printable(name)}` does not exist.{hint}", param="model")


def first(routes: Iterable[Route]) -> Route | None:
    """The first one that is listed and whose server is up, else the first one that is listed."""
    waiting = None
    for route in routes:
        if route.deployment.visible:
            if route.entry.up:
                return route
            waiting = waiting or route
    return waiting


EMPTY = Snapshot(MappingProxyType({}), pending=False)


def build(
    entries: Iterable[Entry], created: int | None = None, pools: Iterable[Pool] = ()
) -> Snapshot:
    """The snapshot for these entries. A name that is taken gets `_1`, `_2` and so on after it.
    The pools are given their members.
    """
    routes: dict[str, Route] = {}
    by_number: dict[int, Route] = {}
    created = int(time.time()) if created is None else created
    pending = False
    for place, entry in enumerate(entries):
        entry.state()
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
    filled = {}
    for pool in pools:
        found = {m: routes.get(m) if isinstance(m, str) else by_number.get(m)
                 for m in pool.spec.members}  # fmt: skip
        members = dict.fromkeys(route for route in found.values() if route is not None)
        pool.fill(
            members, [str(m) for m, route in found.items() if route is None], created, pending
        )
        filled[pool.name] = pool
    return Snapshot(
        MappingProxyType(routes), pending, MappingProxyType(by_number),
        MappingProxyType(_by_base(routes.values())), MappingProxyType(filled),
    )  # fmt: skip


def _by_base(routes: Iterable[Route]) -> dict[str, list[Route]]:
    found: dict[str, list[Route]] = {}
    for route in routes:
        if route.deployment.base_model is not None:
            found.setdefault(route.deployment.base_model, []).append(route)
    return found


def route(deployment: Deployment, link: Link | None, entry: Entry) -> Route:
    """A route, with what can be told beforehand of its requests."""
    meter = entry.meter(deployment.model)
    if link is None:
        return Route(deployment, None, entry, meter=meter)
    mismatch = entry.reason if entry.stage == "mismatch" else ""
    rendered = renders(deployment, link.capabilities)
    plain = not rendered and deployment.tuning == UNTUNED and "stop" in link.capabilities.fields
    kinds = link.capabilities.kinds if deployment.kinds is None else deployment.kinds
    wraps = "text" not in kinds and "chat" in kinds
    takes_all = kinds if link.capabilities.fields is ALL else frozenset[Kind]()
    as_is = takes_all if plain and "generate" in link.capabilities.cancels else frozenset[Kind]()
    as_is -= {"text"} if wraps else set()
    return Route(
        deployment, link, entry, mismatch, rendered, takes_all, wraps, plain, as_is, meter
    )  # fmt: skip


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
