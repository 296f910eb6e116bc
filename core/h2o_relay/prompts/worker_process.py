"""`Worker`: the process that renders chat templates, seen from the relay."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any, Final, Self, cast

import orjson

from ..errors import RelayError

MODULE: Final = f"{__package__}.template_worker"
HEADER: Final = 4  # bytes of a frame's length, see the worker
START_LIMIT: Final = 30.0  # seconds


class WorkerEnded(Exception):
    """The process ended instead of answering; the text says why."""


class Worker(asyncio.SubprocessProtocol):
    """One process, one job at a time: `spawn` it, wait until it is `ready`, `ask` it. In the end
    `close` it and wait until it is `gone`."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = loop.create_future()
        """Done when the process has ended and its pipes are closed."""
        self._reply: asyncio.Future[bytes] = loop.create_future()
        self._received = bytearray()
        self._transport: asyncio.SubprocessTransport | None = None

    @classmethod
    async def spawn(cls) -> Self:
        """Start a process. It gets none of our environment, which holds keys, but finds the same
        modules."""
        env = {"PYTHONPATH": (";" if sys.platform == "win32" else ":").join(filter(None, sys.path))}
        _, worker = await asyncio.get_running_loop().subprocess_exec(
            cls, sys.executable, "-P", "-s", "-m", MODULE,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL, env=env, start_new_session=True,
        )  # fmt: skip
        return worker

    async def ready(self) -> None:
        """Wait until it takes jobs. Raises RelayError; the worker is closed then."""
        try:
            async with asyncio.timeout(START_LIMIT):
                await self._reply
        except (WorkerEnded, TimeoutError) as error:
            self.close()
            raise RelayError("the process that renders chat templates does not start") from error
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        assert self._transport is not None
        return self._transport.get_pid()

    @property
    def alive(self) -> bool:
        return self._transport is not None and self._transport.get_returncode() is None

    async def ask(self, job: bytes, limit: float) -> dict[str, Any]:
        """The answer to a job within `limit` seconds. Raises WorkerEnded; the worker is of no use
        after that, nor after a cancelled call."""
        assert self._transport is not None
        self._reply = asyncio.get_running_loop().create_future()
        pipe = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))
        pipe.write(len(job).to_bytes(HEADER, "big") + job)
        try:
            async with asyncio.timeout(limit):
                answer: dict[str, Any] = orjson.loads(await self._reply)
        except TimeoutError:
            raise WorkerEnded(f"it takes longer than {limit:g} s") from None
        return answer

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._transport is not None:
            self._transport.close()

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._received += data
        end = HEADER + int.from_bytes(self._received[:HEADER], "big")
        if len(self._received) >= max(end, HEADER) and not self._reply.done():
            self._reply.set_result(bytes(self._received[HEADER:end]))
            del self._received[:end]

    def process_exited(self) -> None:
        if not self._reply.done():
            self._reply.set_exception(WorkerEnded(self._ending()))
            self._reply.exception()  # nobody may be waiting for it

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(None)

    def _ending(self) -> str:
        code = self._transport.get_returncode() if self._transport is not None else None
        if sys.platform != "win32" and code == -signal.SIGPROF:
            return "it takes more processor time than it may"
        return f"it ended the process that rendered it (status {code})"
