"""Writing no faster than a client reads, and not waiting for one that has stopped."""

from __future__ import annotations

import asyncio

from .closing import Transport


class Flow:
    """The writing half of a connection's protocol."""

    transport: Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, patience: float) -> None:
        """A client that reads nothing for `patience` seconds is dropped."""
        self._flow_loop = loop
        self._patience = patience
        self._stalled: asyncio.TimerHandle | None = None
        self._writable: asyncio.Future[None] | None = None
        self._left = 0
        self.full = False
        """The client does not read as fast as it is written to."""

    def abort(self) -> None:
        self.transport.abort()

    async def drained(self) -> None:
        """Wait until the client has read enough of what was written, or is gone."""
        while self.full:
            self._writable = self._flow_loop.create_future()  # one answer at a time waits
            await self._writable

    def pause_writing(self) -> None:
        self.full = True
        self._watch()

    def _watch(self) -> None:
        self._left = self.transport.get_write_buffer_size()
        self._stalled = self._flow_loop.call_later(self._patience, self._look)

    def _look(self) -> None:
        if self.transport.get_write_buffer_size() < self._left:
            self._watch()  # slow, but it reads
        else:
            self.abort()

    def resume_writing(self) -> None:
        self.full = False
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None
