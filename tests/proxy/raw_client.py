"""A client that keeps every byte of an answer, and the time of each."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass
class Reply:
    """A response as it came. `pieces` are its chunks, or reads, with the loop's time of each."""

    status: int
    headers: dict[str, str]
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    complete: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(data for _, data in self.pieces)

    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return error_of(self.body)

    @property
    def payloads(self) -> list[bytes]:
        """The events of a stream, which must be in their normal form."""
        assert self.headers["content-type"] == "text/event-stream; charset=utf-8", self.headers
        if not self.body:
            return []
        assert self.body.endswith(b"\n\n")
        events = self.body[:-2].split(b"\n\n")
        for event in events:
            assert event.startswith(b"data: "), event[:80]
            assert b"\n" not in event, event[:80]
            assert b"\r" not in event, event[:80]
        return [event.removeprefix(b"data: ") for event in events]


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self, within: float = 20, head: bool = False) -> Reply:
        """The next response, whole. Raises EOFError if the connection ends without one."""
        async with asyncio.timeout(within):
            reply = await self.head()
            if head or reply.status in (204, 304):
                reply.complete = True
            else:
                await self._body(reply)
            return reply

    async def head(self) -> Reply:
        lines = []
        while (line := await self.reader.readline()) not in (b"\r\n", b""):
            lines.append(line.decode("latin-1").rstrip("\r\n"))
        if not lines or line == b"":
            raise EOFError("the connection ended before the end of a head")
        version, status, _ = lines[0].split(" ", 2)
        assert version == "HTTP/1.1"
        pairs = [line.split(": ", 1) for line in lines[1:]]
        headers = {name.lower(): value for name, value in pairs}
        assert len(headers) == len(pairs), f"a header stands twice: {pairs}"
        return Reply(int(status), headers)

    async def piece(self) -> bytes:
        """The next HTTP chunk of a body; b"" at its end."""
        size = int(await self.reader.readline(), 16)
        data = await self.reader.readexactly(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]

    async def _body(self, reply: Reply) -> None:
        now = asyncio.get_running_loop().time
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ValueError):
            if reply.headers.get("transfer-encoding") == "chunked":
                while data := await self.piece():
                    reply.pieces.append((now(), data))
                reply.complete = True
            elif "content-length" in reply.headers:
                data = await self.reader.readexactly(int(reply.headers["content-length"]))
                reply.pieces.append((now(), data))
                reply.complete = True
            else:
                while data := await self.reader.read(2**16):
                    reply.pieces.append((now(), data))
                reply.complete = True

    async def ended(self, within: float = 20) -> bytes:
        """What comes until the server closes the connection. A reset is an end, too."""
        data = b""
        async with asyncio.timeout(within):
            with contextlib.suppress(ConnectionError):
                while piece := await self.reader.read(2**16):
                    data += piece
        return data

    def reset(self) -> None:
        """Leave with RST."""
        linger = struct.pack("ii", 1, 0)
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def close(self) -> None:
        """Leave with FIN."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def error_of(body: bytes) -> dict[str, Any]:
    """An error's object, which must have OpenAI's four keys and no others."""
    data = orjson.loads(body)
    assert set(data) == {"error"}, data
    assert set(data["error"]) == {"message", "type", "param", "code"}, data
    assert isinstance(data["error"]["message"], str)
    assert data["error"]["message"]
    return dict(data["error"])
