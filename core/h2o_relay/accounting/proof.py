"""`Proof`: what a connection has shown of whom its requests are from."""

from __future__ import annotations

import hmac
from typing import Final, NamedTuple

from .caller import OPEN, Caller


class Proof(NamedTuple):
    """Who a request is from, and for how long the same words prove it."""

    words: bytes
    """What was presented."""
    version: tuple[int, int]
    """Of the store's keys and of the others."""
    until: float
    """Unix time."""
    caller: Caller

    def __repr__(self) -> str:
        return f"Proof({self.caller.id!r})"  # the words are keys

    def is_of(self, presented: list[bytes]) -> bool:
        """Whether these are the same words."""
        return hmac.compare_digest(self.words, b"\n".join(presented))


STRANGER: Final = Proof(b"", (-1, -1), 0.0, OPEN)
