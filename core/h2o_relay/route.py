"""`Route`: a deployment and what reaches it; as a member of a pool, how it is doing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from .entry import Entry
from .errors import ModelNotFound, UpstreamUnavailable
from .links import Link
from .meter import Meter
from .types import Deployment

SHOWN = 100  # characters of a model's name that an error repeats


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A deployment, and what reaches it."""

    deployment: Deployment
    reached_by: Link | None
    entry: Entry
    mismatch: str = ""
    """Why the server is not asked, as it was when the snapshot was made."""
    renders: bool = False
    """The kernel renders its conversations (`preparing.renders`)."""
    takes_all: frozenset[str] = frozenset()
    """Kinds of requests that its server has and of which it drops nothing."""
    wraps: bool = False
    """A text completion becomes a chat: the server has nothing else."""
    plain: bool = True
    """Requests are sent as they are: nothing is tuned, rendered or cut."""
    as_is: frozenset[str] = frozenset()
    """Kinds of requests of which all of that is so: plain, nothing dropped, nothing wrapped; and
    that a closed connection ends."""
    meter: Meter = field(default_factory=Meter)

    @property
    def link(self) -> Link:
        """The link that reaches it. Raises UpstreamUnavailable, ModelNotFound."""
        if self.mismatch:
            raise ModelNotFound(
                f"The model `{printable(self.deployment.name)}` cannot be used: {self.mismatch}.",
                param="model",
            )
        if self.reached_by is None:
            why = self.entry.reason or "it is not known yet what its server is"
            name = printable(self.deployment.name)
            raise UpstreamUnavailable(f"`{name}` cannot be used: {why}", retry_after=1)
        return self.reached_by

    def __eq__(self, other: object) -> bool:
        """The same model of the same server, in whichever snapshot."""
        return (
            type(other) is Route
            and self.entry is other.entry
            and self.deployment.name == other.deployment.name
        )

    def __hash__(self) -> int:
        return hash((id(self.entry), self.deployment.name))

    # What strategies go by (`routing.Candidate`).

    @property
    def name(self) -> str:
        return self.deployment.name

    @property
    def seen(self) -> bool:
        """Its server was looked at."""
        return self.entry.seen

    @property
    def usable(self) -> bool:
        """It is known, there, and lets requests through."""
        entry = self.entry
        if self.reached_by is None or self.mismatch or entry.stage != "ready":
            return False
        health = entry.health
        return not health.draining and health.allows(time.monotonic())

    @property
    def degraded(self) -> bool:
        """It has asked for a pause, refused the relay's key, or failed a moment ago. What refuses
        one request may answer the next: 403 is not always about the key.
        """
        health = self.entry.health
        if not health.troubled:
            return False
        now = time.monotonic()
        return health.refused or health.limited(now) or health.breaker.failing(now)

    @property
    def in_flight(self) -> int:
        link = self.reached_by
        return 0 if link is None else link.leases + link.others

    @property
    def limit(self) -> int | None:
        return self.deployment.tuning.concurrency

    @property
    def reported(self) -> float | None:
        load = self.entry.health.load
        if load is None or load.running is None:
            return None
        return load.running + (load.waiting or 0)

    @property
    def reported_at_in_flight(self) -> int:
        return self.entry.health.load_in_flight

    @property
    def latency(self) -> float | None:
        return self.meter.latency

    @property
    def loaded(self) -> bool | None:
        load = self.entry.health.load
        if load is None or load.loaded is None:
            return None
        return self.deployment.model in load.loaded


def printable(name: str) -> str:
    """A name from outside as an error may repeat it."""
    shown = name if len(name) <= SHOWN else name[:SHOWN] + "…"
    return "".join(c if c.isprintable() and c not in "<>&" else "?" for c in shown)
