"""Who calls, and what they may."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

Period = Literal["day", "month", "total"]
"""After which a budget is whole again: calendar days and months in UTC, or never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a key may; None where it is not limited."""

    models: tuple[str, ...] = ()
    """Names of models and pools, also with `*` as in file names; empty: all of them."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """Of prompts and answers together."""
    concurrent: int | None = None
    """Requests that run at the same time, streams among them."""
    budget: float | None = None
    """In the currency of the configured prices."""
    budget_period: Period = "month"

    @property
    def limits(self) -> bool:
        """Whether there is anything to count."""
        counted = (
            self.requests_per_minute, self.tokens_per_minute, self.concurrent, self.budget,
        )  # fmt: skip
        return any(value is not None for value in counted)


UNLIMITED: Final = Allowance()


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whom a request is from, as its key tells."""

    id: str
    """The key's id, which is no secret: `key_...` for one of `h2o keys`, `env` for
    H2OGPT_OPENAI_API_KEY, `list-...` for one of --h2ogpt_api_keys, `page` for the chat page, `open`
    where no key is asked for."""
    name: str = ""
    """What people call it."""
    allowance: Allowance = field(default=UNLIMITED)
    admin: bool = False
    """It may use /admin."""


OPEN: Final = Caller(id="open")
PAGE: Final = Caller(id="page", admin=True)
