"""Writing at the end of a turn of the loop, all in one go.

Whoever reads at the other end sleeps until something comes, and waking it costs the writer more
than the writing. What a busy relay writes in one turn, a piece here and a piece there, would wake
it for each; written together it wakes it once. Nothing is written later than the loop's next turn,
and at once where there is nothing to gather: another turn of the loop takes time, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol
from weakref import WeakKeyDictionary

log = logging.getLogger(__name__)


class Writer(Protocol):
    """A transport."""

    @property
    def write(self) -> Callable[[bytes], None]: ...

    def is_closing(self) -> bool: ...


class Outbox:
    """What is to be written; use `outbox_of`."""

    __slots__ = ("_waiting", "running")

    def __init__(self) -> None:
        self.running = 0
        """Requests that are being answered, for whoever answers them to count."""
        self._waiting: list[tuple[Writer, bytes]] = []

    def put(self, transport: Writer, data: bytes) -> None:
        """Write `data`, unless the transport is closed before. Whoever writes to it directly, or
        closes it, calls `flush` first.
        """
        if not self._waiting:
            if self.running <= 1:
                _write(transport, data)
                return
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append((transport, data))

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for transport, data in waiting:
                _write(transport, data)


def _write(transport: Writer, data: bytes) -> None:
    try:
        if not transport.is_closing():
            transport.write(data)
    except Exception:  # others wait behind it
        log.exception("a connection could not be written to")


_OUTBOXES: WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox] = WeakKeyDictionary()


def outbox_of(loop: asyncio.AbstractEventLoop) -> Outbox:
    """The loop's."""
    found = _OUTBOXES.get(loop)
    if found is None:
        found = _OUTBOXES[loop] = Outbox()
    return found
