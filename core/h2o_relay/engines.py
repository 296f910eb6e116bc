"""Supervised child servers: model engines (llama.cpp, vLLM) that the relay starts itself.

    async with running(EngineSpec(name="llama.cpp", argv=command)) as engine:
        ...  # engine.url answers; the child is restarted when it dies

The child lives in a session of its own, so that Ctrl-C in a terminal reaches the relay only, which
lets running answers end before it stops the child. It never outlives the relay: leaving the block
stops it, and if the relay is killed the child sees the end of its standard input.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
import ssl
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal, cast

from . import settings
from .child import Child
from .errors import UpstreamUnavailable

log = logging.getLogger(__name__)

State = Literal["starting", "healthy", "restarting", "failed", "stopped"]

HOST = "127.0.0.1"
# Below the ports that Linux (32768) and macOS (49152) hand out to outgoing connections, so that
# none of those sits on an engine's port while the engine is being restarted.
PORTS = range(20000, 32000)
PORT_TRIES = 5
LOG_LINES = 200
SHOWN_LINES = 5
HEALTH_TIMEOUT = 2.0  # seconds for one look


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """What is run. Durations are seconds.

    The child gets a pipe as its standard input, which the relay holds open for as long as the
    child is wanted: a child must exit when it reads the end of it (`exit_with_parent` does that),
    or it outlives a relay that is killed with SIGKILL. A program that does not do this by itself
    is run by one that does (`keeper.kept`).
    """

    name: str
    """For people and logs."""
    argv: Callable[[int], Sequence[str]]
    """The command line for a port on `host`; everyone on the machine can read it."""
    host: str = HOST
    """The address at which the child is reached from this machine."""
    port: int | None = None
    """The child's port, if it must be this one; it then never moves to another."""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to the relay's own environment."""
    stdin: bytes = field(default=b"", repr=False)
    """Written to the child's standard input first: the place for secrets."""
    health: str = "/health"
    """Path that answers 2xx, without a key, once the child can serve."""
    tls: ssl.SSLContext | None = None
    """How it is asked for if the child speaks https."""
    words: Callable[[Sequence[str]], Sequence[str]] = lambda lines: lines[-SHOWN_LINES:]
    """Which of the log's last lines are shown where the child failed to start."""
    start_limit: float = 120.0
    """From start to the first 2xx."""
    stop_limit: float = 5.0
    """Between SIGTERM and SIGKILL."""
    backoff: float = 0.5
    """Before the first restart; doubled for each further one, up to `backoff_limit`."""
    backoff_limit: float = 30.0
    steady: float = 60.0
    """Healthy for this long, a child that dies is restarted after `backoff` again."""


class Engine:
    """One supervised child. Made by `running`."""

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        self.state: State = "starting"
        """`restarting`: it died and a new child is on its way; `failed`: the last restart failed,
        another one follows; `stopped`: the block was left."""
        self.restarts = 0
        """Children started after the first one."""
        self.port = _free_port() if spec.port is None else spec.port
        """Kept over restarts: others were given it. Only a child that has never answered moves
        to another port, if it finds that somebody else has taken this one."""
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._child: Child | None = None

    @property
    def url(self) -> str:
        return f"http://{_bracketed(self.spec.host)}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id of the running child; None while there is none."""
        child = self._child
        return child.pid if child is not None and not child.exited.done() else None

    def log_tail(self) -> list[str]:
        """The last lines of the children's stdout and stderr: at most 200 of 500 characters."""
        return list(self._lines)

    async def _start_first(self) -> None:
        for left in reversed(range(PORT_TRIES)):
            try:
                return await self._start()
            except UpstreamUnavailable:
                await self._stop()
                if not left or self.spec.port is not None or _is_free(self.port):
                    raise
                self.port = _free_port()
        raise AssertionError("unreachable")

    async def _start(self) -> None:
        """Start a child and wait until it is healthy; UpstreamUnavailable if it does not get so."""
        loop = asyncio.get_running_loop()
        child = await self._spawn()
        deadline = loop.time() + self.spec.start_limit
        pause = 0.02
        while not child.exited.done():
            # Somebody else may answer on the port, which the child then finds taken.
            found = await _answers(self.port, self.spec.health, self.spec.host, self.spec.tls)
            if found and not child.exited.done():
                self.state = "healthy"
                return
            if loop.time() >= deadline:
                limit = f"{self.spec.start_limit:g} s"
                raise self._failure(f"did not answer {self.spec.health} within {limit}")
            await asyncio.wait({child.exited}, timeout=pause)
            pause = min(pause * 1.5, 0.25)
        await child.drained()
        raise self._failure(f"stopped while starting ({child.ending})")

    async def _spawn(self) -> Child:
        child = self._child = Child(self.spec.name, self._lines)
        env = {**settings.environment(), **self.spec.env}
        try:
            await asyncio.get_running_loop().subprocess_exec(
                lambda: child,
                *self.spec.argv(self.port),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )
        except OSError as error:
            self._child = None
            raise self._failure(f"could not be started ({error})") from error
        child.say(self.spec.stdin)
        return child

    def _failure(self, what: str) -> UpstreamUnavailable:
        lines = self.spec.words(self.log_tail())
        tail = f"; its last words: {' | '.join(lines)}" if lines else ""
        return UpstreamUnavailable(f"{self.spec.name} {what}{tail}")

    async def _watch(self) -> None:
        """Restart the child whenever it dies, for ever."""
        loop = asyncio.get_running_loop()
        delay = self.spec.backoff
        while True:
            since = loop.time()
            child = cast(Child, self._child)
            await asyncio.wait({child.exited})
            self.state = "restarting"
            if loop.time() - since >= self.spec.steady:
                delay = self.spec.backoff
            log.warning("%s died (%s), restarting it", self.spec.name, child.ending)
            while not await self._restarted(delay):
                delay = min(delay * 2, self.spec.backoff_limit)
            delay = min(delay * 2, self.spec.backoff_limit)

    async def _restarted(self, delay: float) -> bool:
        """Try to restart the child after `delay` seconds."""
        await self._stop()
        await asyncio.sleep(delay)
        self.restarts += 1
        self.state = "restarting"
        try:
            await self._start()
        except UpstreamUnavailable as error:
            self.state = "failed"
            log.warning("%s; it is tried again", error)
            return False
        return True

    async def _stop(self) -> None:
        """Stop the child, if there is one, with everything that it started."""
        child, self._child = self._child, None
        if child is not None:
            await child.stop(self.spec.stop_limit)


@asynccontextmanager
async def running(spec: EngineSpec) -> AsyncIterator[Engine]:
    """Start an engine, yield it once it is healthy, keep it running, stop it on leaving.

    Raises UpstreamUnavailable, with the child's last log lines, if it exits or takes too long.
    """
    engine = Engine(spec)
    try:
        await engine._start_first()
        watcher = asyncio.create_task(engine._watch(), name=f"engine {spec.name}")
        try:
            yield engine
        finally:
            watcher.cancel()
            await asyncio.wait({watcher})
        if not watcher.cancelled():
            watcher.result()
    finally:
        engine.state = "stopped"
        await engine._stop()


async def _answers(
    port: int, path: str, host: str = HOST, tls: ssl.SSLContext | None = None
) -> bool:
    """Whether a GET of `path` is answered 2xx."""
    writer: asyncio.StreamWriter | None = None
    place = f"{_bracketed(host)}:{port}"
    request = f"GET {path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(HEALTH_TIMEOUT):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls)
            writer.write(request.encode())
            head = await reader.readline()
    except (OSError, ValueError):
        return False
    finally:
        if writer is not None:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
    words = head.split()
    return len(words) > 1 and words[0].startswith(b"HTTP/1.") and words[1][:1] == b"2"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        if sys.platform != "win32":  # there it would let two servers share a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    """A free loopback port."""
    for port in random.sample(PORTS, 100):
        if _is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def exit_with_parent() -> None:
    """In a child: have the system end this process when the parent is gone.

    For children whose main thread cannot watch standard input, such as one that loads a model
    with the interpreter's lock held. Call it after what the parent wrote has been read: from then
    on anything that happens on standard input, its end above all, is a SIGTERM. Linux only (see
    fcntl(2), F_SETSIG); elsewhere, and for an end that came before the call, the child must still
    read standard input when it can.
    """
    if sys.platform == "linux":
        import fcntl

        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETSIG, signal.SIGTERM)
        fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
