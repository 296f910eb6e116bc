"""Connections to upstreams, kept for the requests after: by origin, the last one used first."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterable, Coroutine
from typing import Any

from .errors import (
    ConnectTimeout,
    Overloaded,
    RelayError,
    UpstreamDisconnected,
    UpstreamDNSError,
    UpstreamTLSError,
    UpstreamUnreachable,
)
from .http_connection import Connection
from .http_head import Origin
from .http_known import KnownHead
from .http_library import proxy_for
from .server_policy import ServerPolicy
from .settings import Settings
from .trace_headers import PASSED_ON

IDLE_LIMIT = 4.0  # seconds; common servers (uvicorn, Node, llama.cpp) close after 5
POOL_LIMIT = 1024  # idle connections kept for each origin
Limits = tuple[float, float, float | None]
"""Seconds: until the first byte, between bytes, in all."""


class Pool:
    """All connections of a client. `policy` judges every address before it is dialled."""

    def __init__(self, settings: Settings, policy: ServerPolicy | None) -> None:
        self.settings = settings
        self.policy = policy
        self.loop = asyncio.get_running_loop()
        self.open: set[Connection] = set()
        self.tls: ssl.SSLContext | None = None
        self.session: Any = None
        self.closed = False
        self.proxied = bool(settings.http_proxy or settings.https_proxy)
        self._places: dict[Origin, Place] = {}

    def proxy_of(self, origin: Origin) -> str | None:
        return proxy_for(self.settings, "https" if origin.secure else "http", origin.host)

    def place(self, origin: Origin) -> Place:
        """Where requests to an origin are sent from."""
        place = self._places.get(origin)
        if place is None:
            place = self._places[origin] = Place(self, origin)
        return place

    async def connect(self, place: Place) -> Connection:
        """A new connection. Raises ConnectTimeout and the UpstreamError that fits."""
        if self.closed:
            raise Overloaded("the relay is shutting down")
        connection, origin = place.made(), place.origin
        context = self.context() if origin.secure else None
        patience = min(self.settings.connect_timeout, self.settings.request_timeout_fast)
        try:
            async with asyncio.timeout(patience):
                if self.policy is not None:
                    await self.policy.dial(lambda: connection, origin, context)
                else:
                    await self.loop.create_connection(
                        lambda: connection, origin.host, origin.port, ssl=context
                    )
        except TimeoutError:
            raise ConnectTimeout("the upstream server did not accept the connection") from None
        except OSError as error:
            raise connect_error(error) from error
        self.open.add(connection)
        return connection

    def context(self) -> ssl.SSLContext:
        if self.tls is None:
            try:
                self.tls = ssl.create_default_context(cafile=self.settings.ca_file)
            except OSError as error:
                raise UpstreamTLSError("the certificates of ca_file cannot be read") from error
        return self.tls

    async def close(self) -> None:
        self.closed = True
        for connection in list(self.open):
            connection.abort(Overloaded("the relay is shutting down"))
        if self.session is not None:
            await self.session.close()
        await asyncio.sleep(0)


class Place:
    """One origin's idle connections, and what is known of its answers."""

    __slots__ = ("_idle", "_known", "_pool", "origin")

    def __init__(self, pool: Pool, origin: Origin) -> None:
        self.origin = origin
        self._pool = pool
        self._idle: list[Connection] = []
        self._known = KnownHead()

    def made(self) -> Connection:
        """A connection that is not open yet."""
        return Connection(self._pool.loop, self.give, self._known)

    def take(self) -> Connection | None:
        idle, oldest = self._idle, self._pool.loop.time() - IDLE_LIMIT
        while idle:
            connection = idle.pop()
            if not connection.closed and connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    def give(self, connection: Connection) -> None:
        idle = self._idle
        if connection.closed:
            self._pool.open.discard(connection)
            if connection in idle:
                idle.remove(connection)
            return
        idle.append(connection)
        if idle[0].idle_since < connection.idle_since - IDLE_LIMIT or len(idle) > POOL_LIMIT:
            idle.pop(0).abort()

    async def send(
        self, data: bytes, first_byte: float, idle: float, total: float | None,
        upload: AsyncIterable[bytes] | None = None, most: int = -1,
    ) -> Connection:  # fmt: skip
        """Send a request, on an idle connection if there is one, and wait for the head; `most` is
        that of `Connection.start`. `data` is all of it, but for a body that is an `upload`.
        """
        connection = self.take()
        reused = connection is not None
        while True:
            if connection is None:
                connection = await self._pool.connect(self)
            try:
                connection.start(data, first_byte, idle, total, most)
                if upload is not None:
                    await _upload(connection, upload)
                while not connection.has_head:
                    await connection.more()
            except UpstreamDisconnected:
                # A server may close an idle connection just as we use it: not one byte came back,
                # and on a fresh connection this would be the first try.
                retry = reused and connection.received == 0 and upload is None
                connection.abort()
                if not retry:
                    raise
                connection, reused = None, False
            except BaseException:
                connection.abort()
                raise
            else:
                return connection


class Way:
    """What requests have in common that differ in their bodies alone, worked out once: where they
    go, their head but for its length, how long they may take, and the bytes of an answer (`most`)
    that their readers want in one piece.
    """

    __slots__ = ("_begin", "_limits", "_most", "_place")

    def __init__(self, place: Place, begin: bytes, limits: Limits, most: int) -> None:
        self._place, self._begin, self._limits, self._most = place, begin, limits, most

    def send(self, body: bytes) -> Coroutine[Any, Any, Connection]:
        """To be awaited for the response, as `HttpClient.open` is; `check_head` is the caller's."""
        begin, more = self._begin, PASSED_ON.get()
        if more:
            begin += more
        first_byte, idle, total = self._limits
        data = b"%bcontent-length: %d\r\n\r\n%b" % (begin, len(body), body)
        return self._place.send(data, first_byte, idle, total, None, self._most)


async def _upload(connection: Connection, body: AsyncIterable[bytes]) -> None:
    async for piece in body:
        if piece:
            connection.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            if not await connection.drain():
                return
    connection.write(b"0\r\n\r\n")


def connect_error(error: OSError) -> RelayError:
    """The error for a connection that could not be made."""
    if isinstance(error, socket.gaierror):
        return UpstreamDNSError("the upstream server's name could not be resolved")
    if isinstance(error, ssl.SSLError | ssl.CertificateError):
        return UpstreamTLSError(f"no secure connection to the upstream server: {error.args[-1]}")
    if isinstance(error, ConnectionResetError):
        return UpstreamDisconnected("the upstream server broke off the connection")
    return UpstreamUnreachable("the upstream server could not be reached")
