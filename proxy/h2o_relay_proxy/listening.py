"""The API on its socket: from the first connection until the last answer has ended.

Leaving: from the first signal on `/readyz` says so and new requests are refused, while the socket
stays open, so that a load balancer reads it. Answers that run have `drain_timeout`; a second signal
ends them at once. Then the socket is closed and what still runs is cut, each with its error.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from typing import cast

import uvicorn

from h2o_relay.settings import Settings

from .app import App
from .ports import BACKLOG
from .protocol import RelayProtocol
from .tls import server_context

LEAVING = (signal.SIGINT, signal.SIGTERM)
TICK = 0.05  # seconds between looks at what still runs
LAST_WORDS = 0.3  # seconds that clients have to take an error before their connections are closed
log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn's server, run beside other tasks: it leaves by `leave` or by a signal."""

    def __init__(
        self, config: uvicorn.Config, app: App, drain_timeout: float,
        inner: socket.socket | None = None,
    ) -> None:  # fmt: skip
        """`inner` is a second socket, which speaks http whatever the others do."""
        super().__init__(config)
        self._inner = inner
        self._answers = app
        self._drain_timeout = drain_timeout
        self._hurried = asyncio.Event()
        self.stopped = asyncio.Event()
        """No answer runs any more, and the socket is closed."""
        self.status = 0
        self.company: Callable[[int], bool] | None = None
        """Told while it leaves how many answers run here; whether others of the same relay have
        some, so that the socket stays open for those who ask how it is."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # `running` handles them

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._inner is not None and not self.should_exit:
            kind = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
            made = partial(
                kind, config=self.config, server_state=self.server_state,
                app_state=self.lifespan.state,
            )  # fmt: skip
            loop = asyncio.get_running_loop()
            self.servers.append(await loop.create_server(made, sock=self._inner, backlog=BACKLOG))

    def signalled(self, number: int) -> None:
        """The first signal lets answers end, the second does not."""
        if self.should_exit:
            self.status = 128 + number
            self._hurried.set()
        self.leave()

    def leave(self) -> None:
        """Take no more requests, and stop when the answers that run have ended."""
        self._answers.leaving = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """What uvicorn's does, but for the socket: it is open until the last answer has ended."""
        self.leave()
        await self._drain()
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()
        if count := self._running():
            log.warning("answers that were cut: %d", count)
        for connection in self.connections:
            connection.shutdown()
        await self._cut(list(self.server_state.tasks))

    async def _cut(self, tasks: list[asyncio.Task[None]]) -> None:
        """End what still runs, and give clients a moment to read what they are told."""
        for task in tasks:
            task.cancel()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LAST_WORDS
        while self.connections and loop.time() < deadline:  # noqa: ASYNC110, uvicorn's set
            await asyncio.sleep(0.01)
        for connection in self.connections:
            connection.abort()
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_WORDS)

    async def _drain(self) -> None:
        """Wait for the answers that run, as long as they may take."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._drain_timeout
        if count := self._running():
            log.info("answers that have up to %g s to end: %d", self._drain_timeout, count)
        while not self._hurried.is_set() and loop.time() < deadline and self._busy():
            await self.on_tick(0)  # the date of answers goes on
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._hurried.wait()

    @property
    def connections(self) -> list[RelayProtocol]:
        """Those that are open."""
        return cast("list[RelayProtocol]", list(self.server_state.connections))

    def _busy(self) -> bool:
        count = self._running()
        together = self.company is not None and self.company(count)
        return count > 0 or together

    def _running(self) -> int:
        """Answers that are waited for."""
        return sum(map(is_awaited, self.connections))


def is_awaited(connection: RelayProtocol) -> bool:
    """Whether a connection has an answer that is waited for: it runs, or was not read yet."""
    running, transport = connection.running, connection.transport
    if running is not None:
        return not running.background
    return not transport.lingers and transport.get_write_buffer_size() > 0


@contextlib.asynccontextmanager
async def running(
    app: App, settings: Settings, api: socket.socket, inner: socket.socket | None = None, *,
    heeds: bool = True,
) -> AsyncIterator[Server]:  # fmt: skip
    """The API on a bound socket, answering inside the block; after it, or after a signal, it leaves
    as the head of this module says. `inner` is one more, of this machine alone, without https. If
    it does not heed signals, somebody else does.

    Raises SettingError for a certificate that cannot be used.
    """
    config = uvicorn.Config(
        app,
        http=type("BoundRelayProtocol", (RelayProtocol,), {"settings": settings}),
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
    )
    config.load()
    config.ssl = server_context(settings)
    server = Server(config, app, settings.drain_timeout, inner)
    serving = asyncio.create_task(server.serve(sockets=[api]))
    serving.add_done_callback(lambda _: server.stopped.set())
    heeded = LEAVING if heeds else ()
    with signals({number: partial(server.signalled, number) for number in heeded}):
        try:
            while not server.started and not serving.done():  # noqa: ASYNC110, no event for it
                await asyncio.sleep(0.005)
            yield server
        finally:
            server.leave()
            await serving


@contextlib.contextmanager
def signals(handlers: Mapping[int, Callable[[], None]]) -> Iterator[None]:
    """Handle these signals inside the block, where they can be handled: not on Windows, and in a
    process's main thread alone.
    """
    loop, handled = asyncio.get_running_loop(), []
    for number, handler in handlers.items():
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, handler)
            handled.append(number)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
