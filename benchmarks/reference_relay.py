"""The yardstick: the smallest honest relay on the parts that the project also builds on.

A bare ASGI app on uvicorn (uvloop, httptools, no access log) reads the request, sends it on over a
kept-alive connection of its own and passes bytes on as they arrive. It has a pool, back-pressure
and errors; it has no keys, limits, models, checks, metrics, or watch over clients that leave.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import click
import httptools
import uvicorn

Message = MutableMapping[str, Any]
BUFFER = 65536
PASSED = frozenset({b"content-type", b"content-length", b"cache-control"})
BAD_GATEWAY = b'{"error":{"message":"the upstream cannot be reached"}}'


class UpstreamBroken(ConnectionError):
    """The upstream went away in the middle of an answer."""


class Upstream(asyncio.Protocol):
    """One connection to the upstream, and the answer that is arriving on it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.parser = httptools.HttpResponseParser(self)
        self.waiter: asyncio.Future[None] | None = None
        self.error: Exception | None = None
        self.reset()

    def reset(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.status = 0
        self.pieces: list[bytes] = []
        self.over = self.paused = self.reusable = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = self.error or exc or UpstreamBroken("closed")
        self.pool.forget(self)
        self.wake()

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as exc:
            self.error = exc
            self.transport.abort()
        self.wake()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)
        if not self.paused and sum(map(len, self.pieces)) > BUFFER:
            self.paused = True
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        self.over = True
        # Only here: once the message is over, the parser always says no.
        self.reusable = self.parser.should_keep_alive()

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def more(self) -> None:
        """Waits for the next bytes; raises what broke the connection."""
        if self.error is not None:
            raise UpstreamBroken(str(self.error))
        self.waiter = asyncio.get_running_loop().create_future()
        await self.waiter

    async def body(self) -> bytes:
        """What has arrived, waiting for something; b"" only at the end."""
        while not self.pieces and not self.over:
            await self.more()
        pieces, self.pieces = self.pieces, []
        if self.paused:
            self.paused = False
            self.transport.resume_reading()
        return b"".join(pieces)


class Pool:
    """Idle connections to one upstream; the one used last is used next."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 80
        self.head = b" HTTP/1.1\r\nhost: %b\r\n" % parts.netloc.encode()
        self.idle: list[Upstream] = []

    def forget(self, upstream: Upstream) -> None:
        if upstream in self.idle:
            self.idle.remove(upstream)

    async def request(self, method: bytes, path: bytes, body: bytes) -> Upstream:
        """The connection on which the head of the answer has arrived."""
        upstream = self.idle.pop() if self.idle else await self.connect()
        upstream.reset()
        fields = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        upstream.transport.write(method + b" " + path + self.head + fields + body)
        while not upstream.status:
            await upstream.more()
        return upstream

    async def connect(self) -> Upstream:
        loop = asyncio.get_running_loop()
        _, upstream = await loop.create_connection(lambda: Upstream(self), self.host, self.port)
        return upstream

    def release(self, upstream: Upstream) -> None:
        """Keeps the connection if its answer was read to the end."""
        if upstream.reusable and upstream.error is None:
            self.idle.append(upstream)
        else:
            upstream.transport.close()


class Relay:
    """The ASGI application."""

    def __init__(self, url: str) -> None:
        self.pool = Pool(url)

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        message = await receive()
        body = message.get("body", b"")
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        try:
            upstream = await self.pool.request(scope["method"].encode(), scope["raw_path"], body)
        except OSError:
            kind = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 502, "headers": kind})
            await send({"type": "http.response.body", "body": BAD_GATEWAY})
            return
        try:
            await relay(upstream, send)
        finally:
            self.pool.release(upstream)


async def relay(upstream: Upstream, send: Callable[[Message], Awaitable[None]]) -> None:
    """Passes an answer on; raises UpstreamBroken if it breaks off, which closes the client's."""
    headers = [header for header in upstream.headers if header[0] in PASSED]
    await send({"type": "http.response.start", "status": upstream.status, "headers": headers})
    more = True
    while more:
        data = await upstream.body()
        more = not upstream.over or bool(upstream.pieces)
        await send({"type": "http.response.body", "body": data, "more_body": more})


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--upstream", required=True, help="Base URL, without a path.")
def main(port: int, upstream: str) -> None:
    uvicorn.run(
        Relay(upstream), port=port, loop="uvloop", http="httptools", ws="none", lifespan="off",
        access_log=False, log_level="warning", server_header=False, backlog=4096,
        # It does not notice that a client has left, and would wait for its answer to end.
        timeout_graceful_shutdown=1,
    )  # fmt: skip


if __name__ == "__main__":
    main()
