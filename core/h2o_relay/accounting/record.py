"""`Record`: one request that is over, as metrics, log, traces and the store are told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(kw_only=True)  # without slots, so that its class has the defaults: see `made`
class Record:
    """Holds no prompt, no answer and no secret. Durations are seconds."""

    id: str
    """The request's id (`x-request-id`)."""
    at: float
    """Unix time at which it came."""
    method: str
    """"" for what is no HTTP."""
    route: str
    """The path's pattern (`/v1/models/{id}`), one of a few dozen; "other" for unknown ones."""
    status: int
    """What the caller was answered; 499 if it had gone before that."""
    key: str = "open"
    """`Caller.id`."""
    model: str = ""
    """As it was asked for, if it is a name that the relay knows, else ""."""
    deployment: str = ""
    """Who answered (`x-h2o-server`); "" if nobody was asked."""
    plugin: str = ""
    server: str = ""
    """The server string, masked."""
    code: str | None = None
    """The error's code, also of one in mid-stream."""
    streamed: bool = False
    aborted: bool = False
    """The caller left before the end."""
    attempts: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    """Of the prompt's, those that the server had in its cache; null where it does not tell."""
    estimated: bool = False
    """The relay has guessed the tokens."""
    seconds: float = 0.0
    """Until the last byte."""
    queued: float = 0.0
    first: float | None = None
    """Until the first piece of the answer."""
    overhead: float = 0.0
    """What the relay itself took until then."""
    cost: float | None = None
    """In the currency of the configured prices; None where the model has no price."""


made: Final[Callable[[type[Record]], Record]] = object.__new__
"""A record in which nothing is written yet: `__init__` takes 24 fields, most of which are mostly as
their defaults. What has none must be set: `id`, `at`, `method`, `route` and `status`.
"""
