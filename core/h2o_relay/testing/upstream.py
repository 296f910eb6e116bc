"""A server on loopback that answers exactly the bytes that a script tells it to.

    async with ScriptedUpstream(json({"data": []})) as upstream:
        ...                       # talk to upstream.url
        assert upstream.requests[0].path == "/v1/models"

It reads HTTP/1.1 requests by hand (RFC 9112) and leaves the answers to its script, so that a script
can break every rule of the format. `scripts.py` has ready-made ones.
"""

from __future__ import annotations

import asyncio
import socket
import ssl as tls
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import orjson

REQUEST_LIMIT = 64 * 2**20  # bytes of a request; a test that sends more has run away
TURN = 0.1  # seconds that one turn of the loop is waited for at most; a longer one was a stall


@dataclass(slots=True, eq=False)
class Received:
    """One request as it arrived. Times are the loop's own, in seconds."""

    method: str
    path: str
    """With its query, as the client wrote it."""
    headers: Mapping[str, str]
    """Lower-case names; of a repeated one the last."""
    body: bytes
    at: float
    left_at: float | None = field(default=None)
    """When the client closed the connection before the answer's end; None if it did not."""

    def json(self) -> Any:
        return orjson.loads(self.body)


Script = Callable[[Received, "Answer"], Awaitable[None]]
"""Writes one answer. It is cancelled when the client leaves."""


class Answer:
    """The wire back to the client. What is sent goes out as it is, one TCP segment a call."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def send(self, data: bytes) -> None:
        """Write `data` and let a client in the same loop read it before the next call's data."""
        await self._connection.write(data)
        # The first turn of the loop finds the client's socket readable, the second reads it.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def end(self) -> None:
        """Close the connection in good order (FIN), whatever was promised."""
        self._connection.shut()

    async def reset(self) -> None:
        """Break the connection off (RST). What was sent before has a moment to arrive."""
        await asyncio.sleep(0.02)
        self._connection.reset()

    async def hang(self) -> None:
        """Say nothing more until the client leaves."""
        await asyncio.Event().wait()


class ScriptedUpstream:
    """Answers every request by `script`, which may be exchanged at any time.

    An exception that a script raises is raised again on leaving the block.
    """

    def __init__(self, script: Script, *, ssl: tls.SSLContext | None = None, port: int = 0) -> None:
        """`port` 0 is any that is free."""
        self.script = script
        self.requests: list[Received] = []
        self.gone: list[Received] = []
        """Requests whose client left before their answer's end, in the order of leaving."""
        self.accepted = 0
        """Connections so far."""
        self.answering = 0
        """Answers in progress."""
        self.errors: list[BaseException] = []
        self.connections: set[_Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._ssl = ssl
        self._port = port
        self._server: asyncio.Server | None = None

    @property
    def open(self) -> int:
        """Connections that are open now, idle ones included."""
        return len(self.connections)

    @property
    def port(self) -> int:
        assert self._server is not None, "the upstream is not running"
        return self._port

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"{'https' if self._ssl else 'http'}://127.0.0.1:{self.port}"

    async def listen(self) -> None:
        """Accept connections: after `vanish`, on the same port."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), "127.0.0.1", self._port, ssl=self._ssl, backlog=1024
        )
        self._port = int(self._server.sockets[0].getsockname()[1])

    def vanish(self) -> None:
        """What is left of a server whose process was killed: nothing listens any more, and all
        connections are closed, by FIN without another byte.
        """
        assert self._server is not None, "the upstream is not running"
        self._server.close()
        for connection in list(self.connections):
            connection.abandon()

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.vanish()
        assert self._server is not None
        await until(lambda: not self.connections and not self.tasks, within=5)
        await self._server.wait_closed()
        if error is None and self.errors:
            raise self.errors[0]


class _Connection(asyncio.Protocol):
    """One client: a task reads its requests and has each answered."""

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self._upstream = upstream
        self._buffer = bytearray()
        self._wake = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._current: Received | None = None
        self._shut = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._upstream.accepted += 1
        self._upstream.connections.add(self)
        self._task = asyncio.get_running_loop().create_task(self._serve())
        self._upstream.tasks.add(self._task)
        self._task.add_done_callback(self._upstream.tasks.discard)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._wake.set()

    def eof_received(self) -> None:
        self._leave()

    def connection_lost(self, error: Exception | None) -> None:
        self._leave()
        self._upstream.connections.discard(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def write(self, data: bytes) -> None:
        if self._shut:
            raise RuntimeError("the script writes to a connection that it has closed")
        self._transport.write(data)
        await self._writable.wait()

    def shut(self) -> None:
        self._shut = True
        self._transport.close()

    def reset(self) -> None:
        self._shut = True
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def abandon(self) -> None:
        self._shut = True
        self._task.cancel()
        self._transport.abort()

    def _leave(self) -> None:
        """The client closed the connection, or we did."""
        request, self._current = self._current, None
        if request is not None and not self._shut:
            request.left_at = asyncio.get_running_loop().time()
            self._upstream.gone.append(request)
        self._task.cancel()

    async def _serve(self) -> None:
        try:
            while not self._shut:
                await self._answer(await self._read_request())
        except Exception as error:
            self._upstream.errors.append(error)
            self._transport.abort()

    async def _answer(self, request: Received) -> None:
        self._upstream.requests.append(request)
        self._upstream.answering += 1
        self._current = request
        try:
            await self._upstream.script(request, Answer(self))
        finally:
            self._upstream.answering -= 1
            self._current = None

    async def _read_request(self) -> Received:
        head = await self._read_until(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ", 2)
        pairs = (line.split(":", 1) for line in lines[1:] if line)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = await self._read_chunks()
        else:
            body = await self._read_exactly(int(headers.get("content-length", "0")))
        return Received(method, path, headers, body, asyncio.get_running_loop().time())

    async def _read_chunks(self) -> bytes:
        body = b""
        while size := int((await self._read_until(b"\r\n")).split(b";")[0], 16):
            body += await self._read_exactly(size)
            await self._read_until(b"\r\n")
        await self._read_until(b"\r\n")
        return body

    async def _read_until(self, mark: bytes) -> bytes:
        while (end := self._buffer.find(mark)) < 0:
            await self._more()
        return (await self._read_exactly(end + len(mark)))[:end]

    async def _read_exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            await self._more()
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    async def _more(self) -> None:
        if len(self._buffer) > REQUEST_LIMIT:
            raise ValueError("the request is larger than the scripted upstream reads")
        self._wake.clear()
        await self._wake.wait()


async def until(condition: Callable[[], object], *, within: float) -> float:
    """Wait until `condition()` is true; how long that took, in seconds.

    Raises AssertionError when it is not true after `within` seconds. Seconds in which this process
    was not let run are nobody's: a turn of the loop counts for `TURN` at most.
    """
    loop = asyncio.get_running_loop()
    waited, before = 0.0, loop.time()
    while not condition():
        if waited > within:
            raise AssertionError(f"not true within {within:g} s")
        await asyncio.sleep(0.005)
        now = loop.time()
        waited, before = waited + min(now - before, TURN), now
    return waited
