"""Closing a connection without losing the last answer, and without waiting for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LINGER = 2.0  # seconds that a client has to read our last words while it still sends


class Transport:
    """The transport as uvicorn sees it.

    A socket that is closed while its client still sends is reset by the kernel, and the client may
    never read the answer (RFC 9112, 9.6). Then only our half is closed at first; what still comes
    is for the protocol to throw away. And a client that does not read its answer has `patience`
    seconds before the rest of it is dropped.
    """

    __slots__ = (
        "_patience",
        "_sending",
        "_timer",
        "_transport",
        "abort",
        "get_extra_info",
        "get_write_buffer_size",
        "lingers",
        "pause_reading",
        "resume_reading",
        "write",
    )

    def __init__(
        self, transport: asyncio.Transport, sending: Callable[[], bool], patience: float
    ) -> None:
        """`sending` tells whether the client is in the middle of a request."""
        self._transport = transport
        self._sending = sending
        self._patience = patience
        self._timer: asyncio.TimerHandle | None = None
        self.lingers = False
        self.write = transport.write
        self.abort = transport.abort
        self.get_extra_info = transport.get_extra_info
        self.get_write_buffer_size = transport.get_write_buffer_size
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def is_closing(self) -> bool:
        return self.lingers or self._transport.is_closing()

    def close(self) -> None:
        """Close, once the client has the answer; at once if it is said twice."""
        whole = self._transport
        if self.is_closing() or not self._sending() or not whole.can_write_eof():
            whole.close()
            if whole.get_write_buffer_size():
                self._abort_after(self._patience)
        else:
            self.lingers = True
            whole.resume_reading()
            whole.write_eof()
            self._abort_after(LINGER)

    def _abort_after(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.abort)

    def lost(self) -> None:
        """The connection is gone, and nobody sends any more."""
        self._sending = bool
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
