"""`Child`: one process that the relay starts, with its log, its end and its stopping."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections import deque
from contextlib import suppress
from typing import cast

log = logging.getLogger(__name__)

LINE_LIMIT = 500  # characters
KILL_LIMIT = 5.0  # seconds until a killed process must be gone


class Child(asyncio.SubprocessProtocol):
    """The protocol of `loop.subprocess_exec`: merged output on fd 1, a process group of its own.

    Lines of output go to `lines` and, at debug, to the log.
    """

    pid: int | None = None

    def __init__(self, name: str, lines: deque[str]) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[None] = loop.create_future()
        """Done when the process has ended."""
        self._closed: asyncio.Future[None] = loop.create_future()
        self._name, self._lines, self._rest = name, lines, b""
        self._transport: asyncio.SubprocessTransport | None = None

    @property
    def ending(self) -> str:
        """How the process ended, in words."""
        code = self._transport.get_returncode() if self._transport is not None else None
        if code is not None and code < 0:
            return f"signal {-code}"
        return f"exit status {code}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self.pid = self._transport.get_pid()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        *whole, rest = (self._rest + data).split(b"\n")
        for line in whole:
            self._note(line)
        # Room for as many characters of four bytes; the rest of an endless line is cut anyway.
        self._rest = rest[: LINE_LIMIT * 4]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1 and self._rest:
            self._note(self._rest)
            self._rest = b""

    def process_exited(self) -> None:
        _resolve(self.exited)

    def connection_lost(self, exc: Exception | None) -> None:
        _resolve(self.exited)
        _resolve(self._closed)

    def _note(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()[:LINE_LIMIT]
        if text:
            self._lines.append(text)
            log.debug("%s: %s", self._name, text)

    def say(self, data: bytes) -> None:
        """Write to its standard input."""
        pipe = self._stdin()
        if pipe is not None and data:
            pipe.write(data)

    async def drained(self) -> None:
        """Wait a little for what an exited process had still written."""
        await asyncio.wait({self._closed}, timeout=1.0)

    async def stop(self, limit: float) -> None:
        """End the process and everything that it started: SIGTERM and the end of its standard
        input, then SIGKILL after `limit` seconds, or at once if this call is cancelled."""
        if self._transport is None:
            return
        try:
            if not self.exited.done():
                self._signal(signal.SIGTERM)
                pipe = self._stdin()
                if pipe is not None:
                    pipe.close()
                await asyncio.wait({self.exited}, timeout=limit)
        finally:
            # Also when the process has ended: its own children share its process group.
            self._kill()
            try:
                await asyncio.wait({self.exited}, timeout=KILL_LIMIT)
                await self.drained()
            finally:
                self._transport.close()

    def _kill(self) -> None:
        self._signal(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is None:
            return
        # macOS says PermissionError for a group in which only zombies are left.
        with suppress(ProcessLookupError, PermissionError):
            if sys.platform != "win32":
                os.killpg(self.pid, number)
            elif not self.exited.done():
                os.kill(self.pid, number)

    def _stdin(self) -> asyncio.WriteTransport | None:
        pipe = self._transport.get_pipe_transport(0) if self._transport is not None else None
        return cast("asyncio.WriteTransport | None", pipe)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
