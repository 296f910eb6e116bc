"""Running the API: ports, the server's life, the chat UI beside it, and what people are told."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from typing import Any, TextIO

import uvicorn

from h2o_relay.administration import Administration
from h2o_relay.errors import RelayError
from h2o_relay.hosts import is_exposed
from h2o_relay.kernel import Given, Kernel
from h2o_relay.logtail import LogTail
from h2o_relay.plugins import Plugins
from h2o_relay.settings import SettingError, Settings

from .announce import announce
from .app import App, create_app
from .chat_ui import chat_ui
from .ports import BACKLOG, address, listen
from .protocol import RelayProtocol
from .stored import stored_models

log = logging.getLogger(__name__)


def serve(
    settings: Settings,
    servers: Sequence[Given],
    plugins: Plugins | None = None,
    out: TextIO | None = None,
) -> int:
    """Serve until stopped; the process's exit status. Raises SettingError for a port or address
    that cannot be used.
    """
    check_exposure(settings)
    api = listen(settings, "openai_port")
    with contextlib.closing(api):
        return run(_serve(settings, servers, plugins, api, out or sys.stdout))


def run(coroutine: object) -> int:
    """Run on uvloop where there is one."""
    if sys.platform == "win32":
        return asyncio.run(coroutine)  # type: ignore[arg-type]
    import uvloop

    return uvloop.run(coroutine)  # type: ignore[arg-type]


async def _serve(
    settings: Settings,
    servers: Sequence[Given],
    plugins: Plugins | None,
    api: socket.socket,
    out: TextIO,
) -> int:
    key = secrets.token_urlsafe(32)
    with log_tail() as tail:
        async with Kernel(settings, servers, plugins) as kernel, stored_models(settings) as stored:
            admin = Administration(kernel, stored, tail)
            app = create_app(kernel, settings, kernel.instance, admin, key)
            async with running(app, settings, api) as server:
                url = address(api)
                settle_memory()
                async with chat_ui(settings, url, key) as ui:
                    tasks = [
                        watched(announce(kernel, settings, url, ui, out)),
                        watched(restored(admin)),
                    ]
                    try:
                        await server.stopped.wait()
                    finally:
                        for task in tasks:
                            task.cancel()
                        await asyncio.gather(*tasks, return_exceptions=True)
            return server.status


def watched(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that nobody waits for: if it fails, the log says so at once."""
    task = asyncio.create_task(work)
    task.add_done_callback(_log_failure)
    return task


def _log_failure(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("something beside the answers failed", exc_info=error)


async def restored(admin: Administration) -> None:
    """Serve again what was added in earlier runs."""
    try:
        await admin.restore()
    except RelayError as error:
        log.warning("models that were added before are left out: %s", error.message)


@contextlib.contextmanager
def log_tail() -> Iterator[LogTail]:
    """The log's last lines, kept for the length of the block."""
    tail = LogTail()
    root = logging.getLogger()
    root.addHandler(tail)
    try:
        yield tail
    finally:
        root.removeHandler(tail)


def settle_memory() -> None:
    """Let the garbage collector pass over what is there from the start: a full collection of it
    stalls every stream for tens of milliseconds.
    """
    gc.collect()
    gc.freeze()


class Server(uvicorn.Server):
    """uvicorn's server, run beside other tasks: it stops by `stop` or by a signal."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopped = asyncio.Event()
        self.status = 0

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # `running` handles them

    def signalled(self, number: int) -> None:
        """The first signal lets answers end, the second does not."""
        if self.should_exit:
            self.force_exit = True
            self.status = 128 + number
        self.should_exit = True
        self.stopped.set()


@contextlib.asynccontextmanager
async def running(app: App, settings: Settings, api: socket.socket) -> AsyncIterator[Server]:
    """The API on a bound socket, answering inside the block and drained after it."""
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
        timeout_graceful_shutdown=max(1, round(settings.drain_timeout)),
    )
    server = Server(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, server.signalled, number)
    serving = asyncio.create_task(server.serve(sockets=[api]))
    serving.add_done_callback(lambda _: server.stopped.set())
    try:
        while not server.started and not serving.done():  # noqa: ASYNC110, uvicorn has no event
            await asyncio.sleep(0.005)
        yield server
    finally:
        server.should_exit = True
        await serving
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.remove_signal_handler(number)


def check_exposure(settings: Settings) -> None:
    """Refuse to listen beyond loopback without a key. Raises SettingError."""
    if not is_exposed(settings):
        return
    raise SettingError(
        f"--host {settings.host} would let anyone on the network use this relay: set a key with "
        "H2OGPT_OPENAI_API_KEY, or insist with --allow-open"
    )
