"""A relay in a process of its own that can be looked into, for the tests of whole fleets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from h2o_relay.testing.bench import Bench
from h2o_relay.testing.upstream import until

from ..proxy.faults_views import Intact, tokens
from ..proxy.kit import chat, get, post
from ..proxy.raw_client import Client, Reply

needs_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="it looks into /proc, and fills a backlog as Linux counts it"
)
HELD = ("tasks", "fds", "entries", "links")
SPARE = 2  # of these that a look may find at work
LATE = 10.0  # seconds for connections that linger, and a machine that stalls
PROGRAM = Path(__file__).with_name("fleet_process.py")
ADMIN = "admin-canary-3c70"
SOON = 10.0  # seconds for what is quick where nothing else runs
TICK = 0.01
ENV = {"H2O_DISCOVER": "0"}


@dataclass
class Relay:
    """`h2o serve` that runs, and what it has said."""

    process: asyncio.subprocess.Process
    folder: Path
    began: float
    started: float = 0.0
    """Seconds until the API was up."""
    port: int = 0
    lines: list[str] = field(default_factory=list)

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    async def says(self, pattern: str, within: float = SOON) -> None:
        def said() -> bool:
            return re.search(pattern, self.output) is not None

        await until(lambda: said() or self.process.returncode is not None, within=within)
        assert said(), self.output

    async def connect(self) -> Client:
        return Client(*await asyncio.open_connection("127.0.0.1", self.port))

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        client = await self.connect()
        try:
            yield client
        finally:
            await client.close()

    async def send(self, data: bytes, within: float = 60) -> Reply:
        """One request on a connection of its own."""
        async with self.client() as client:
            await client.send(data)
            return await client.reply(within)

    async def ask(self, model: str, streamed: bool = True, within: float = 60) -> Reply:
        return await self.send(post(chat(streamed, model=model)), within)

    async def models(self) -> list[str]:
        return [entry["id"] for entry in (await self.send(get("/v1/models"))).json()["data"]]

    async def well(self, model: str, within: float) -> Reply:
        """Ask until there is an answer, and give that."""
        deadline = time.monotonic() + within
        while (reply := await self.ask(model)).status != 200:
            assert time.monotonic() < deadline, (reply.status, reply.body)
            await asyncio.sleep(0.05)
        return reply

    async def holds(self) -> dict[str, int]:
        """What it holds after a full garbage collection (`fleet_process.held`)."""
        told = self.folder / "held.json"
        told.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        await until(told.exists, within=SOON)
        found = json.loads(told.read_text())
        assert isinstance(found, dict)
        return found

    async def ended(self, within: float) -> int:
        """The exit status."""
        async with asyncio.timeout(within):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def serving(
    folder: Path, config: Mapping[str, Any] | None = None, *arguments: str
) -> AsyncIterator[Relay]:
    """`h2o serve` on a free port, with this file as h2o.yaml and `ADMIN` as the password, once its
    API is up. Leaving kills it.
    """
    if config is not None:
        write(folder / "h2o.yaml", config)
        arguments = (f"--config={folder / 'h2o.yaml'}", *arguments)
    command = [
        str(PROGRAM), str(folder / "held.json"), "serve", "--openai-port=0",
        f"--save-dir={folder / 'data'}", *arguments,
    ]  # fmt: skip
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdin=asyncio.subprocess.DEVNULL, cwd=folder,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **ENV, "H2O_ADMIN_PASS": ADMIN},
    )  # fmt: skip
    running = Relay(process, folder, began)

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            running.lines.append(line.decode().rstrip())
            api = re.search(r"API +http://127\.0\.0\.1:(\d+)/v1", running.lines[-1])
            if api and not running.port:
                running.started, running.port = time.monotonic() - began, int(api[1])

    reading = asyncio.create_task(read())
    try:
        await running.says(r"API +http", within=60)
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await reading


def grown(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """What a relay holds more of."""
    return [what for what in HELD if after[what] > before[what] + SPARE]


def write(path: Path, config: Mapping[str, Any]) -> None:
    """A configuration, put in place at once. JSON is YAML, too."""
    fresh = path.with_suffix(".part")
    fresh.write_text(json.dumps(config))
    fresh.rename(path)


def entry(name: str, url: str, model: str, **more: Any) -> dict[str, Any]:
    """`model` of a server at `url` under the name `name`."""
    server = f"vllm_chat:{url}/v1"
    return {"inference_server": server, "base_model": model, "display_name": name, **more}


def intact(reply: Reply, streamed: bool, count: int = 5) -> None:
    """So many tokens, one finish, and all that belongs to an end."""
    Intact(tokens(count)).check(reply, streamed)


async def hang_up(benches: Sequence[Bench]) -> None:
    """Close the relay's idle connections to them."""
    async with asyncio.timeout(SOON):
        while any(bench.open for bench in benches):
            for bench in benches:
                if not bench.answering:
                    for connection in list(bench.connections):
                        connection.abandon()
            await asyncio.sleep(0.02)


class Lag:
    """How late this process was at worst, in seconds: what it measures may be off by as much."""

    def __init__(self) -> None:
        self.worst = 0.0

    async def __aenter__(self) -> Lag:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(TICK)
            self.worst = max(self.worst, loop.time() - before - TICK)
