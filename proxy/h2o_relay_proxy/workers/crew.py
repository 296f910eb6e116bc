"""`Crew`: the processes that answer requests. One that dies is replaced; all leave together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from h2o_relay.workers.channel import Channel, Handlers

from ..listening import LEAVING, signals
from .welcome import MODULE

FIRST_WAIT = 0.1  # seconds before one that has died at once is started again; doubles
LONGEST_WAIT = 15.0
STEADY = 10.0  # seconds after which one that dies has not died at once
TRIES = 3  # of a worker that never gets ready, before anything was served
LAST = 15.0  # seconds beyond `drain_timeout` that workers have to leave
FAILED = 1
log = logging.getLogger(__name__)
Join = Callable[[str, Callable[[], Channel]], Handlers]
"""Given a worker's name, which no other ever has, and its channel as soon as there is one: what
that is to answer."""


class Crew:
    """`async with crew.working()`; then wait for `stopped`."""

    def __init__(
        self, sockets: Sequence[socket.socket], inner: socket.socket | None, join: Join,
        gone: Callable[[str], None], drain_timeout: float,
    ) -> None:  # fmt: skip
        """A worker for each of `sockets`, which all take `inner`, too. `gone` is called with the
        name of each that has ended.
        """
        self._sockets, self._inner = sockets, inner
        self._join, self._gone = join, gone
        self._drain_timeout = drain_timeout
        self._leaving = False
        self._served = False  # one has been ready
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._running: dict[str, int] = {}  # answers of those that leave
        self._channels: dict[str, Channel] = {}
        self.ready: dict[str, Channel] = {}
        """By the names of the workers that answer."""
        self.stopped = asyncio.Event()
        """No worker runs any more."""
        self.status = 0

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run the workers inside the block; after it, or after a signal, they leave."""
        running = asyncio.create_task(self._run(), name="workers")
        with signals({number: partial(self.signalled, number) for number in LEAVING}):
            try:
                yield
            finally:
                self.leave()
                try:
                    await running
                finally:
                    self._kill()

    def signalled(self, number: int) -> None:
        """The first signal lets answers end, the second does not."""
        if self._leaving:
            self.status = 128 + number
            self._tell("hurry", int(number))
        self.leave()

    def leave(self) -> None:
        """Have all workers take no more requests, and stop when their answers have ended."""
        if not self._leaving:
            self._leaving = True
            self._tell("leave")
            late = self._drain_timeout + LAST
            asyncio.get_running_loop().call_later(late, self._kill)

    def _tell(self, what: str, *args: object) -> None:
        for channel in self._channels.values():
            channel.say(what, *args)

    def _kill(self) -> None:
        for name, process in self._processes.items():
            if process.returncode is None:
                log.warning("worker %s does not leave and is ended", name)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()

    async def _run(self) -> None:
        try:
            await asyncio.gather(*map(self._keep, range(len(self._sockets))))
        finally:
            for each in self._sockets:
                each.close()  # who comes now is not kept waiting
            self.stopped.set()

    async def _keep(self, place: int) -> None:
        """One worker after the other, until all are to leave."""
        wait, fast = FIRST_WAIT, 0
        for turn in range(sys.maxsize):
            name = f"{place + 1}" if not turn else f"{place + 1}.{turn}"
            began = time.monotonic()
            how = await self._one(name, self._sockets[place])
            if self._leaving:
                return
            lasted = time.monotonic() - began
            fast = 0 if lasted >= STEADY else fast + 1
            wait = FIRST_WAIT if fast <= 1 else min(wait * 2, LONGEST_WAIT)
            if not self._served and fast >= TRIES:
                log.error("workers do not start (%s): the relay stops", how)
                self.status = FAILED
                self.leave()
                return
            log.warning("worker %s died (%s), another one takes its place", name, how)
            await asyncio.sleep(0 if fast <= 1 else wait)
            if self._leaving:
                return

    async def _one(self, name: str, listening: socket.socket) -> str:
        """From a worker's start to its end, and how that was."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await self._start(theirs, listening)
        self._processes[name] = process
        made: list[Channel] = []
        handlers: Handlers = {
            **self._join(name, lambda: made[0]),
            "ready": partial(self._ready, name, process.pid),
            "running": partial(self._still, name),
        }
        made.append(await Channel.over(ours, handlers))
        self._channels[name] = made[0]
        if self._leaving:
            made[0].close()
        try:
            code = await process.wait()
            with contextlib.suppress(TimeoutError):  # what it has said last
                async with asyncio.timeout(1):
                    await asyncio.shield(made[0].closed)
        finally:
            del self._channels[name], self._processes[name]
            self.ready.pop(name, None)
            made[0].close()
            self._gone(name)
            self._all_done()
        return f"signal {-code}" if code < 0 else f"exit status {code}"

    async def _start(
        self, control: socket.socket, listening: socket.socket
    ) -> asyncio.subprocess.Process:
        inner = [] if self._inner is None else [self._inner]
        numbers = [each.fileno() for each in (control, listening, *inner)]
        # -P: nothing is imported from the directory that the relay happens to be started in. A
        # session of its own, so that Ctrl-C in a terminal is the coordinator's to see to.
        return await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", MODULE, *map(str, numbers), pass_fds=numbers,
            stdin=asyncio.subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def _still(self, name: str, running: int) -> None:
        """A worker that leaves has so many answers left."""
        self._running[name] = running
        self._all_done()

    def _all_done(self) -> None:
        """When none has any, they may go: until then each says that the relay is leaving."""
        if self._leaving and not any(self._running.get(name, 1) for name in self._channels):
            self._tell("done")

    def _ready(self, name: str, pid: int) -> None:
        self._served = True
        self.ready[name] = self._channels[name]
        log.info("worker %s answers (process %d)", name, pid)
