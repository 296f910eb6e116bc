"""What the people who run a relay see and do: deployments as they are, and changes to them.

The values are what `/admin` sends as JSON (`asdict`). `Administration` in the API's process and
`RemoteKernel` in another both are an `AdminAPI`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from .accounting.usage_query import UsageQuery, UsageReport
    from .applying import Change as Applied


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentView:
    """A model on a server, or a server of which no model is known yet, as it is now."""

    id: str
    """Of the entry that it belongs to: all models of a server given without one share it."""
    name: str
    """What clients ask for; "" while no model is known."""
    model: str
    """The server's own name for it; "" while it is not known."""
    base_model: str | None
    server: str
    """The server string, its secrets masked."""
    plugin: str | None
    """None while a bare URL is not identified."""
    state: str
    """`health.State`: unknown, healthy, busy, warming, offline, auth-error, rate-limited,
    draining."""
    stage: str
    """How far its server is known, `entry.Stage`: unidentified, opening, listing, ready, mismatch,
    offline."""
    reason: str
    """Why it is not healthy, or what else is to be said of it."""
    since: float
    """Unix time at which the state began."""
    visible: bool
    added: bool
    """It was added while the relay ran: it can be edited and removed."""
    max_context: int | None
    """Tokens."""
    kinds: tuple[str, ...]
    """`chat`, `text`."""
    fields: tuple[str, ...] | None
    """Request fields that its server honours; None: all of them."""
    vision: bool | None
    """Takes images; None: not known."""
    prompt_type: str | None
    loadable: bool
    """Its server can load and unload it."""
    running: int
    waiting: int
    latency: float | None
    """Seconds to the first token: a moving average of its latest answers."""
    probe: float | None = None
    """Seconds that its server took for the last look at it, which cost no token."""
    server_running: int | None = None
    server_waiting: int | None = None
    """Requests, whoever sent them, where its server tells."""
    last_error: str = ""
    last_error_at: float | None = None
    """Unix time."""
    members: tuple[str, ...] = ()
    """Of a pool."""
    strategy: str | None = None
    """Of a pool."""
    requests: int
    failures: int
    tokens: int
    """Answered so far; counted by pieces where a server counts none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    id: str
    max_context: int | None
    kinds: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a look at a server brought, before it is added."""

    server: str
    """The string, its secrets masked."""
    plugin: str | None
    url: str | None
    models: tuple[FoundModel, ...]
    kinds: tuple[str, ...]
    problem: str
    """Why it cannot be used, "" if it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A round trip of one token."""

    ok: bool
    seconds: float
    text: str
    """The answer's beginning, or the error's message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A model's last minutes, a value for each interval, the oldest first."""

    name: str
    interval: float
    """Seconds."""
    end: float
    """Unix time at which the last interval ends."""
    requests: tuple[int, ...]
    tokens: tuple[int, ...]
    latency: tuple[float | None, ...]
    """Mean seconds to the first token; None where nothing was answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """The relay itself. Holds no secret."""

    version: str
    python: str
    instance: str
    started: float
    """Unix time."""
    plugins: tuple[Mapping[str, Any], ...]
    """`name`, `version`, `state` (`loaded`, `quarantined`, `found`), `reason`."""
    settings: Mapping[str, Any]
    """By name; what may hold a secret is "***" where it is set."""
    packages: Mapping[str, str]
    """Versions of what the relay is built on."""
    log: tuple[str, ...] = field(default=())
    """The last lines, the oldest first."""


Change = Literal["added", "changed", "removed"]


class AdminAPI(Protocol):
    """All methods raise RelayError."""

    def deployments(self) -> Sequence[DeploymentView]:
        """As last known; costs nothing."""
        ...

    def changes(self) -> AsyncGenerator[Sequence[DeploymentView], None]:
        """The deployments at once, whenever they change, and as their counters move (at most
        once a second). An async generator: close it."""
        ...

    async def identify(self, entry: Mapping[str, Any]) -> Found:
        """Look at the server that a model lock's entry names (`inference_server`, `base_model`,
        `h2ogpt_key` ...). Raises InvalidRequest for one that cannot be read."""
        ...

    async def add(self, entry: Mapping[str, Any]) -> str:
        """Serve what an entry, written as in a model lock, says; kept over restarts. Its id."""
        ...

    async def change(self, id: str, entry: Mapping[str, Any]) -> None:
        """Replace these keys of an entry. Of one that was not added only `visible`."""
        ...

    async def remove(self, id: str) -> None: ...

    async def entry(self, id: str) -> Mapping[str, Any]:
        """What an added entry says, secrets masked as "***" (sent back, they stay as they are)."""
        ...

    async def try_out(self, name: str) -> Tried:
        """Ask a model for one token."""
        ...

    async def set_loaded(self, name: str, on: bool) -> None: ...

    async def put_pool(self, entry: Mapping[str, Any]) -> str:
        """Make a pool, written as in the configuration file with its `name` in it, or change one
        that was added; kept over restarts. Its name."""
        ...

    async def remove_pool(self, name: str) -> None: ...

    async def reload(self) -> Applied:
        """Read the configuration file again and serve what it says. Raises InvalidRequest for one
        that is wrong: then all stays as it was."""
        ...

    async def export(self, secrets: bool = False) -> str:
        """What is served as the text of a configuration file; without its secrets, and saying so
        (`export.HEAD`), unless they are asked for."""
        ...

    async def explain(self, name: str | None) -> Mapping[str, Any]:
        """How a request for a model would be answered now, and why (`views.explained`)."""
        ...

    async def series(self) -> Sequence[Series]: ...

    async def usage(self, query: UsageQuery) -> UsageReport:
        """What requests used and have cost. Raises StoreError."""
        ...

    async def system(self) -> System: ...
