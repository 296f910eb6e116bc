"""The plugins' own stand-ins as servers that a relay in another process can reach."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from h2o_relay.testing.upstream import Script, ScriptedUpstream

ROOT = Path(__file__).resolve().parents[2]
GRADIO_APP = ROOT / "plugins/gradio_remote/tests/gradio_remote_app.py"
GRADIO_START = 50.0  # seconds; importing Gradio takes most of them


def module(plugin: str, name: str) -> Any:
    """A module of a plugin's tests."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))  # no distribution has the tests
    return importlib.import_module(f"plugins.{plugin}.tests.{name}")


class Street:
    """Servers on a loop of their own, in a thread. Enter it."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._portal: BlockingPortal | None = None

    def __enter__(self) -> Street:
        self._portal = self._stack.enter_context(start_blocking_portal())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def opened(self, script: Script) -> ScriptedUpstream:
        """A server that answers by `script`, until the street is left."""
        return self._stack.enter_context(self._here(ScriptedUpstream(script)))

    def moved_in(self, script: Script, port: int) -> AbstractContextManager[None]:
        """The same at a port that is known already."""
        return self._here(_at(script, port))

    def _here(self, server: AbstractAsyncContextManager[Any]) -> AbstractContextManager[Any]:
        assert self._portal is not None
        return self._portal.wrap_async_context_manager(server)


@contextlib.asynccontextmanager
async def _at(script: Script, port: int) -> AsyncIterator[None]:
    """A server at `port` that hands all bytes on to a `ScriptedUpstream`, which chooses its own."""
    tasks: set[asyncio.Task[Any]] = set()

    async def both_ways(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        there = await asyncio.open_connection("127.0.0.1", upstream.port)
        try:
            await asyncio.gather(_pass(reader, there[1]), _pass(there[0], writer))
        finally:
            writer.close()
            there[1].close()
            tasks.discard(task)

    async with ScriptedUpstream(script) as upstream:
        server = await asyncio.start_server(both_ways, "127.0.0.1", port)
        try:
            yield
        finally:
            server.close()
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def free_port() -> int:
    """A port on which nobody listens, and which the system gives to nobody for a while."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def gradio_apps(journal: Path, *names: str) -> Iterator[dict[str, str]]:
    """Real Gradio apps in a process of their own: their addresses by name."""
    process = subprocess.Popen(
        [sys.executable, str(GRADIO_APP), str(journal), *names],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    watchdog = threading.Timer(GRADIO_START, process.kill)
    watchdog.start()
    try:
        line = process.stdout.readline()
        watchdog.cancel()
        assert line, "the Gradio apps did not start"
        yield json.loads(line)
    finally:
        watchdog.cancel()
        process.communicate(timeout=20)
