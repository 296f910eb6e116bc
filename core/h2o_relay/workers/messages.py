"""What a coordinator and its workers tell each other of servers and requests. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ..entry import Entry, Stage
from ..errors import RelayError
from ..meter import Interval
from ..pools import PoolSpec
from ..spec import ServerSpec
from ..types import Endpoint, Model, Server

if TYPE_CHECKING:
    from ..accounting.prices import Prices

TICK = 0.05
"""Seconds after which numbers that have changed are told."""
Opened = Literal["not", "there", "own"]
"""Whether a server is open: not yet, at an `Endpoint`, or each process opens it for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One server as the coordinator knows it, but for its health."""

    number: int
    """Of the entry, for as long as the coordinator lives: ids are used again, numbers are not."""
    id: str
    added: bool
    spec: ServerSpec
    visible: bool | frozenset[str]
    stage: Stage
    reason: str
    models: tuple[Model, ...]
    listed: bool
    itself: bool
    server: Server | None
    """As it was identified, with its keys; None until then."""
    opened: Opened
    endpoint: Endpoint | None
    error: RelayError | None
    """Why it is not open."""


def told(entry: Entry, number: int) -> Told:
    """What there is to tell of an entry."""
    link = entry.link
    opened: Opened = "not"
    if link is not None and link.client is not None:
        opened = "own" if link.endpoint is None else "there"
    spec = entry.spec
    assert spec is not None
    return Told(
        number=number, id=entry.id, added=entry.added, spec=spec, visible=entry.visible,
        stage=entry.stage, reason=entry.reason, models=tuple(entry.models), listed=entry.listed,
        itself=entry.itself, server=link.server if link else None, opened=opened,
        endpoint=link.endpoint if link else None, error=link.error if link else None,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What is served from now on."""

    order: tuple[int, ...]
    """The numbers of all entries."""
    entries: tuple[Told, ...]
    """Those that are new to the worker, or differ from what it was told."""
    health: Mapping[int, Mapping[str, Any]]
    """What is known of the health of those that are new to it (`Health.known`)."""
    pools: tuple[PoolSpec, ...]
    prices: Prices


@dataclass(slots=True, kw_only=True)
class Counted:
    """A model's counters in one worker."""

    running: int = 0
    waiting: int = 0
    latency: float | None = None
    requests: int = 0
    """This and what follows: since it was last told."""
    failures: int = 0
    tokens: int = 0
    intervals: dict[int, Interval] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Counts:
    """What has changed in one worker since it last told."""

    leases: dict[int, int] = field(default_factory=dict)
    """Requests that run, by the servers' numbers."""
    queues: dict[str, int] = field(default_factory=dict)
    """Requests that wait, by the pools' names."""
    meters: dict[tuple[int, str], Counted] = field(default_factory=dict)
    """By a server's number and its name for the model."""
    places: list[tuple[str, int, str]] = field(default_factory=list)
    """Pools, conversations, and the members that these were given."""

    def __bool__(self) -> bool:
        return bool(self.leases or self.queues or self.meters or self.places)


@dataclass(slots=True, kw_only=True)
class Others:
    """What has changed in all the others, for one worker."""

    leases: dict[int, int] = field(default_factory=dict)
    queues: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.leases or self.queues)
