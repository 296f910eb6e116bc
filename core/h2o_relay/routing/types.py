"""What a strategy may know of a member, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol


class Candidate(Protocol):
    """A member of a pool as it is now. Its properties are read on every request: keep them cheap.

    Told apart by identity; `name` is what sticky conversations and weights go by.
    """

    @property
    def name(self) -> str: ...

    @property
    def usable(self) -> bool:
        """Its state and its breaker allow a request now."""
        ...

    @property
    def degraded(self) -> bool:
        """It is rate-limited or failed a moment ago: asked only if no other is there."""
        ...

    @property
    def in_flight(self) -> int:
        """Requests of ours that run on its server now, of all its models together."""
        ...

    @property
    def limit(self) -> int | None:
        """Requests that may run on its server at the same time; None for any number."""
        ...

    @property
    def reported(self) -> float | None:
        """Running and waiting requests, as the server told last; None where it tells nothing."""
        ...

    @property
    def reported_at_in_flight(self) -> int:
        """What `in_flight` was when the server told."""
        ...

    @property
    def latency(self) -> float | None:
        """Seconds to the first token, a moving average; None before the first answer."""
        ...

    @property
    def loaded(self) -> bool | None:
        """The model is in the server's memory; None where that is not known."""
        ...


class Chosen(NamedTuple):
    """The member that is asked, and why, in a word or two of ASCII for a header."""

    member: Candidate
    reason: str


REASONS: Final[Mapping[str, str]] = {
    "only-member": "the pool has no other",
    "least-load": "it has the fewest requests; of several the one that was fastest",
    "latency": "the first token is expected from it soonest",
    "weighted": "it was its turn",
    "reserve": "its weight is 0, and no other could be asked",
    "priority": "it is the preferred one",
    "spill-over": "those before it have enough to do",
    "preferred-is-away": "the preferred one cannot be asked",
    "all-spilled-over": "all have enough to do, and it has the least",
    "sticky": "the conversation is there, or begins there",
    "sticky-moved": "the conversation was elsewhere, where there is too much to do, or nobody",
    "no-session": "nothing says which conversation it is: the least load",
    "warm": "it has the model in memory",
    "warm-unknown": "whether it has the model in memory is not known, and none is known to have it",
    "cold": "it has not, and no other could be asked",
}
"""Each reason that a strategy gives, and what it says of the member."""
