"""What a worker is given when it starts."""

from __future__ import annotations

from dataclasses import dataclass, field

from h2o_relay.settings import Settings

MODULE = "h2o_relay_proxy.workers.process"


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The same for all workers but for their names."""

    name: str
    settings: Settings
    instance: str
    """The relay's, by which it knows itself."""
    created: int
    """Unix time from which its models are."""
    key: str = field(repr=False)
    """The chat page's."""
