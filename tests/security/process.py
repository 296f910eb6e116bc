"""`h2o run` as its users start it: a process of its own, with all that it starts and writes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from h2o_relay.testing.upstream import until

H2O = Path(sys.executable).with_name("h2o")
SOON = 60.0  # seconds for a start or an end, on a machine that has other things to do
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "XDG_DATA_HOME")


@dataclass
class Running:
    """A relay that runs, and what it has said so far."""

    process: asyncio.subprocess.Process
    folder: Path
    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)

    @property
    def said(self) -> str:
        return (self.out + self.err).decode(errors="replace")

    async def says(self, pattern: str) -> re.Match[str]:
        def found() -> bool:
            return bool(re.search(pattern, self.said)) or self.process.returncode is not None

        await until(found, within=SOON)
        match = re.search(pattern, self.said)
        assert match is not None, self.said
        return match

    async def address(self, what: str) -> str:
        """Of `API` or `Chat`, without a path."""
        return (await self.says(rf"{what} +(https?://[^\s/]+)"))[1]

    def family(self) -> list[int]:
        """The relay and all processes below it."""
        found = [self.process.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    found += [int(word) for word in task.read_text().split()]
        return found

    async def ended(self) -> int:
        async with asyncio.timeout(SOON):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def h2o(
    folder: Path, *words: str, env: Mapping[str, str] | None = None, before: Sequence[str] = ()
) -> AsyncIterator[Running]:
    """`h2o WORDS`, started in `folder`, its data below it; `before` is a command to run it with."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    told = {**kept, "H2O_SAVE_DIR": str(folder / "data"), "H2O_DISCOVER": "0", **(env or {})}
    process = await asyncio.create_subprocess_exec(
        *before, str(H2O), *words, cwd=folder, env=told, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    running = Running(process, folder)

    async def read(stream: asyncio.StreamReader | None, to: bytearray) -> None:
        assert stream is not None
        while data := await stream.read(65536):
            to += data

    reading = [
        asyncio.create_task(read(process.stdout, running.out)),
        asyncio.create_task(read(process.stderr, running.err)),
    ]
    try:
        yield running
    finally:
        if process.returncode is None:
            family = running.family()
            told = family[1] if before and len(family) > 1 else process.pid
            signalled([told], signal.SIGINT)
            try:
                async with asyncio.timeout(20):
                    await process.wait()
            except TimeoutError:
                signalled(reversed(family), signal.SIGKILL)
                await process.wait()
        await asyncio.gather(*reading)


def signalled(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
