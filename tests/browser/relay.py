"""`h2o run` as a person starts it, in a process of its own that the tests' loop watches."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

START_LIMIT = 90.0  # seconds; importing Gradio takes most of them
STOP_LIMIT = 20.0
ENV = {"H2O_LLAMA_CPP_THREADS": "1", "H2O_DISCOVER": "0", "NO_COLOR": "1"}
READY = re.compile(r"The chat UI is ready: (http://\S+)")
API = re.compile(r"API +(http://\S+)/v1")
now_running: list[Relay] = []


class Relay:
    """A running `h2o run`: where its page and its API are, and what it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output = ""
        self.chat = ""
        self.api = ""
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read(), name="read a relay's console")

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.output += line.decode()
            self._news.set()
        self._news.set()

    async def printed(self, pattern: re.Pattern[str]) -> str:
        """The first group of the pattern's match in what is printed, now or soon."""
        deadline = asyncio.get_running_loop().time() + START_LIMIT
        while not (match := pattern.search(self.output)):
            left = deadline - asyncio.get_running_loop().time()
            ended = self._reader.done() or left <= 0
            assert not ended, f"{pattern.pattern!r} was not printed; this was:\n{self.output}"
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), left)
        return match[1]

    async def stop(self) -> None:
        """As Ctrl-C does."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
        await self._gone()

    async def kill(self) -> None:
        """As a power cut does."""
        self.process.kill()
        await self._gone()

    async def _gone(self) -> None:
        async with asyncio.timeout(STOP_LIMIT):
            await self.process.wait()
            await self._reader


@contextlib.asynccontextmanager
async def running(
    lock: Sequence[Mapping[str, Any]], folder: Path, *options: str, port: int = 0,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Relay]:  # fmt: skip
    """`h2o run` with this model lock; its data are in `folder`. Its page is ready on entering."""
    command = Path(sys.executable).with_name("h2o")
    process = await asyncio.create_subprocess_exec(
        str(command), "run", f"--model_lock={json.dumps(list(lock))}", f"--port={port}",
        "--openai-port=0", *options, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, limit=2**20,
        env={**os.environ, **ENV, "H2O_SAVE_DIR": str(folder), **(env or {})},
    )  # fmt: skip
    relay = Relay(process)
    now_running.append(relay)
    try:
        relay.api = await relay.printed(API)
        relay.chat = await relay.printed(READY)
        yield relay
    finally:
        now_running.remove(relay)
        await relay.stop()
