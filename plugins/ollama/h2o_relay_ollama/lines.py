"""Newline-delimited JSON: the lines of a stream, however its bytes arrive."""

from __future__ import annotations

from typing import Any

import orjson

from h2o_relay.errors import UpstreamIncomplete, UpstreamResponseTooLarge

from .failures import nonsense


class Lines:
    """Fed with bytes, gives the lines that they complete; at most `limit` bytes a line."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.rest = b""
        self._any = False

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that end in `data`. Raises UpstreamResponseTooLarge."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        if len(self.rest) > self.limit or any(len(line) > self.limit for line in lines):
            raise UpstreamResponseTooLarge("the Ollama server sent a line that is too long")
        whole = [line for line in lines if line.strip()]
        self._any = self._any or bool(whole)
        return whole

    def end(self) -> list[bytes]:
        """What follows the last line break: whole, if it is JSON. Raises UpstreamError."""
        rest, self.rest = self.rest.strip(), b""
        if not rest:
            return []
        try:
            orjson.loads(rest)
        except orjson.JSONDecodeError:
            if self._any:
                raise UpstreamIncomplete("the Ollama server's answer ends within a line") from None
            raise nonsense("did not answer in JSON") from None
        return [rest]


def decoded(line: bytes) -> dict[str, Any]:
    """One JSON object. Raises UpstreamBadResponse."""
    try:
        said = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise nonsense("did not answer in JSON") from None
    if not isinstance(said, dict):
        raise nonsense("did not answer with an object")
    return said
