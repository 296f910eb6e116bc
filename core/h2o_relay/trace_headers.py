"""The headers by which an upstream is told whose trace its request belongs to."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

PASSED_ON: Final[ContextVar[bytes]] = ContextVar("PASSED_ON", default=b"")
"""Encoded headers, a line end after each, for whatever is asked in this context; set for each
request by a frontend that traces, empty where nobody does."""


def as_mapping(lines: bytes) -> dict[str, str]:
    """The same for a client that takes a mapping."""
    pairs = (line.split(": ", 1) for line in lines.decode("latin-1").split("\r\n") if line)
    return {pair[0]: pair[-1] for pair in pairs}
