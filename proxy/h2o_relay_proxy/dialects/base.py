"""What a dialect is: pure functions from a request to chat completion's terms, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from h2o_relay.chunks import Chunk, Completion
from h2o_relay.errors import RelayError


class Exchanged(Protocol):
    """One request of a dialect and its answer."""

    params: dict[str, Any]
    """The request as one of /chat/completions: `model`, `messages` and `stream` among its fields.
    What the dialect shares with chat completions has its name there. Fields that nobody knows
    travel with it, as they do in chat completions."""
    dropped: tuple[str, ...]
    """Fields of the dialect that have no counterpart and are not honoured, as dotted paths."""
    names: Mapping[str, str]
    """The dialect's own names for fields of `params` that have another one there."""

    def whole(self, completion: Completion) -> bytes:
        """The body for a whole answer."""

    def begin(self) -> bytes:
        """The events before the first chunk. Called once the first chunk is there."""

    def chunk(self, chunk: Chunk) -> bytes:
        """The events for a chunk, which may be none."""

    def end(self) -> bytes:
        """The events that end a good answer."""

    def failed(self, error: RelayError) -> bytes:
        """The event that ends an answer which fails after `begin`."""


class Dialect(Protocol):
    """An API that is translated."""

    path: str
    """Below /v1, with its leading slash."""

    def check(self, params: dict[str, Any]) -> None:
        """What nobody may be asked, whoever answers. Raises InvalidRequest."""

    def read(self, params: dict[str, Any]) -> Exchanged:
        """A request, checked as `checks.check` does it for chat completions: by type and range,
        nothing coerced, `param` in the dialect's own paths. Raises InvalidRequest.
        """

    def error(self, error: RelayError, request_id: str) -> bytes:
        """The body of an error before the first byte."""

    def broken(self, error: RelayError) -> bytes:
        """The event that ends a forwarded answer which breaks off."""
