"""A configured server and all that is known of it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from .health import Health, State, state_of
from .links import Link
from .meter import Meter
from .plugins import Plugins
from .spec import ServerSpec
from .types import UNTUNED, Model, Server, Tuning

if TYPE_CHECKING:
    from .pooling import Pool

Stage = Literal["unidentified", "opening", "listing", "ready", "mismatch", "offline"]
"""How far a server is known. `mismatch`: it is there, and does not list the model that it was given
for."""
Given = str | Server | tuple[str | Server, str | None] | ServerSpec
"""A server as configured: a string or a parsed one, with a base model if there is one."""


@dataclass(slots=True, eq=False)
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
    stage: Stage = "opening"
    reason: str = ""
    display_name: str | None = None
    tuning: Tuning = UNTUNED
    visible: bool | frozenset[str] = True
    """Whether its deployments are listed, or the names of those that are."""
    id: str = field(default_factory=lambda: secrets.token_hex(4))
    since: float = field(default_factory=time.time)
    """Unix time at which its state began; kept by `state`."""
    health: Health = field(default_factory=Health)
    added: bool = False
    """While the relay ran: it can be changed and removed."""
    task: asyncio.Task[None] | None = None
    """It looks after the entry."""
    nudged: asyncio.Event = field(default_factory=asyncio.Event)
    """Set where requests have shown that it is time for a look."""
    spec: ServerSpec | None = None
    """What it was made of."""
    pools: set[Pool] = field(default_factory=set)
    """Those that its deployments are members of."""
    _meters: dict[str, Meter] = field(default_factory=dict)
    _state: State = "unknown"

    def meter(self, model: str) -> Meter:
        """The counters of a model, by the server's own name."""
        found = self._meters.get(model)
        if found is None:
            found = self._meters[model] = Meter()
        return found

    @property
    def meters(self) -> Mapping[str, Meter]:
        """Those that there are, by the same names."""
        return self._meters

    def state(self, now: float | None = None) -> tuple[State, str]:
        """How it is doing and why, in words; `now` is a time of `time.monotonic()`."""
        state, why = state_of(self, now)
        if state != self._state:
            self._state, self.since = state, time.time()
        return state, why

    def adjust(self, spec: ServerSpec) -> None:
        """The same server is to be known, limited or listed otherwise."""
        self.spec, self.display_name = spec, spec.display_name
        self.tuning, self.visible = spec.tuning, spec.visible
        if self.link is not None:
            self.link.limit(spec.tuning.concurrency)

    def shifted(self) -> None:
        """Requests have changed its state."""
        self.state()
        if self.health.breaker.failing(time.monotonic()):
            self.nudged.set()
        for pool in self.pools:
            pool.wake()

    @property
    def seen(self) -> bool:
        """It was looked at, so that waiting for it would not help."""
        return self.listed or self.stage in ("offline", "unidentified")

    @property
    def up(self) -> bool:
        """Nothing is known that would make a request fail."""
        return self.link is not None and self.stage not in ("offline", "mismatch")


def entry_of(plugins: Plugins, given: Given) -> Entry:
    """The entry for a server as configured. Raises BadServerString, PluginError."""
    if isinstance(given, tuple):
        given = ServerSpec(server=given[0], base_model=given[1])
    elif not isinstance(given, ServerSpec):
        given = ServerSpec(server=given)
    spec = given.parsed(plugins.parse)
    assert isinstance(spec.server, Server)
    return Entry(
        spec.server, spec.base_model, spec=spec, display_name=spec.display_name, tuning=spec.tuning,
        visible=spec.visible,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """A configured server for people: `reason` says why it is not ready."""

    server: Server
    state: State
    reason: str
    models: tuple[Model, ...]
    stage: Stage = "ready"
