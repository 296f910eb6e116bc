"""The one HTTP client of the kernel: pooled HTTP/1.1, no redirects, no cookies, no surprises.

Small on purpose: a request to an upstream costs a fraction of what general clients ask for it
(docs/performance.md). What is rare goes through aiohttp instead (`http_library`): proxies.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from typing import Any, Protocol, Self

from .errors import (
    ConnectTimeout,
    Overloaded,
    RelayError,
    UpstreamBadResponse,
    UpstreamDisconnected,
    UpstreamDNSError,
    UpstreamRedirect,
    UpstreamTLSError,
    UpstreamUnreachable,
)
from .http_connection import Connection
from .http_head import Origin, encode_head, split_url
from .http_library import library_open, proxy_for
from .server_policy import ServerPolicy
from .settings import Settings
from .trace_headers import PASSED_ON, as_mapping

IDLE_LIMIT = 4.0  # seconds; common servers (uvicorn, Node, llama.cpp) close after 5
POOL_LIMIT = 1024  # idle connections kept for each origin


class Response(Protocol):
    """A response being read: iterate over it for its body as it arrives."""

    status: int

    @property
    def encoded(self) -> bool:
        """It has a Content-Encoding."""
        ...

    def header(self, name: bytes) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def read(self, limit: int) -> bytes: ...

    def finish(self, *, whole: bool) -> None: ...

    def offer(self, taker: Callable[[bytes], bool]) -> None:
        """Where this is possible, show what arrives to `taker` while the reader waits for it. What
        that takes, by saying true, does not wake the reader.
        """
        ...


Limits = tuple[float, float, float | None]
"""Seconds: until the first byte, between bytes, in all."""
Arguments = tuple[str, str, Mapping[str, str], bytes | AsyncIterable[bytes], Limits]
"""Method, URL, headers, body, limits."""


class _Pool:
    """Idle connections by origin, the last one used first."""

    def __init__(self, settings: Settings, policy: ServerPolicy | None) -> None:
        self.settings = settings
        self.policy = policy
        self.loop = asyncio.get_running_loop()
        self.idle: dict[Origin, list[Connection]] = {}
        self.open: set[Connection] = set()
        self.tls: ssl.SSLContext | None = None
        self.session: Any = None
        self.closed = False
        self.proxied = bool(settings.http_proxy or settings.https_proxy)

    def proxy_of(self, origin: Origin) -> str | None:
        return proxy_for(self.settings, "https" if origin.secure else "http", origin.host)

    def take(self, origin: Origin) -> Connection | None:
        waiting = self.idle.get(origin)
        oldest = self.loop.time() - IDLE_LIMIT
        while waiting:
            connection = waiting.pop()
            if not connection.closed and connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    def give(self, origin: Origin, connection: Connection) -> None:
        waiting = self.idle.setdefault(origin, [])
        if connection.closed:
            self.open.discard(connection)
            if connection in waiting:
                waiting.remove(connection)
            return
        waiting.append(connection)
        stale = waiting[0].idle_since < self.loop.time() - IDLE_LIMIT
        if stale or len(waiting) > POOL_LIMIT:
            waiting.pop(0).abort()

    async def send(
        self, origin: Origin, data: bytes, body: bytes | AsyncIterable[bytes], limits: Limits
    ) -> Connection:
        """Send a request, on an idle connection if there is one, and wait for the head."""
        connection = self.take(origin)
        reused = connection is not None
        while True:
            if connection is None:
                connection = await self.connect(origin)
            try:
                connection.start(data, *limits)
                if not isinstance(body, bytes):
                    await _upload(connection, body)
                while not connection.has_head:
                    await connection.more()
            except UpstreamDisconnected:
                # A server may close an idle connection just as we use it: not one byte came back,
                # and on a fresh connection this would be the first try.
                retry = reused and connection.received == 0 and isinstance(body, bytes)
                connection.abort()
                if not retry:
                    raise
                connection, reused = None, False
            except BaseException:
                connection.abort()
                raise
            else:
                return connection

    async def connect(self, origin: Origin) -> Connection:
        """A new connection. Raises ConnectTimeout and the UpstreamError that fits."""
        if self.closed:
            raise Overloaded("the relay is shutting down")
        connection = Connection(self.loop, lambda c: self.give(origin, c))
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


class HttpClient:
    """`async with HttpClient(settings) as client`; `client.at(url, headers)` is a view on the same
    pool whose relative URLs begin with `url` and whose requests carry `headers`.
    """

    def __init__(self, settings: Settings, policy: ServerPolicy | None = None) -> None:
        """`policy` judges every address before it is dialled."""
        self.settings = settings
        self._policy = policy
        self._pool: _Pool | None = None
        self._base = ""
        self._headers: Mapping[str, str] = {}

    async def __aenter__(self) -> Self:
        self._pool = _Pool(self.settings, self._policy)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    def at(self, url: str, headers: Mapping[str, str] | None = None) -> HttpClient:
        view = HttpClient(self.settings)
        view._pool = self._pool
        view._base = url.rstrip("/")
        view._headers = {**self._headers, **(headers or {})}
        return view

    def share(self, other: HttpClient) -> None:
        """Send over another client's connections, instead of being entered."""
        self._pool = other._pool

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | AsyncIterable[bytes] = b"",
        first_byte: float | None = None,
        idle: float | None = None,
        total: float | None = None,
    ) -> Exchange:
        """An exchange to enter; entering it waits for the response's head.

        Seconds: `first_byte` until the head and the first bytes of the body, `idle` between bytes
        after that, `total` for all of it. Entering and reading raise UpstreamError,
        UpstreamTimeout; a 3xx is UpstreamRedirect. Leaving before the body's end closes the
        connection.
        """
        limits = (
            self.settings.first_byte_timeout if first_byte is None else first_byte,
            self.settings.idle_timeout if idle is None else idle,
            total,
        )
        return Exchange(self, (method, url, headers or {}, body, limits))

    async def open(
        self, method: str, url: str, headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes], limits: Limits,
    ) -> Response:  # fmt: skip
        """Send a request and wait for the head; `finish` the response on every path.

        What `request` is made of, for those to whom a microsecond matters.
        """
        pool = self._pool
        if pool is None:
            raise RuntimeError("the HTTP client is not open")
        if url[:1] == "/":
            url = self._base + url
        if self._headers:
            headers = {**self._headers, **headers}
        origin, path, host = split_url(url)
        more = PASSED_ON.get()
        response: Response
        if pool.proxied and (proxy := pool.proxy_of(origin)) is not None:
            if more:
                headers = {**headers, **as_mapping(more)}
            response = await library_open(pool, proxy, (method, url, headers, body, limits))
        else:
            data = encode_head(method, path, host, headers, body, more)
            response = await pool.send(origin, data, body, limits)
        if response.status >= 300 or response.encoded:
            try:
                check_head(response)
            except BaseException:
                response.finish(whole=False)
                raise
        return response

    async def get(self, url: str, limit: int = 2**20) -> tuple[int, Mapping[str, str], bytes]:
        """GET a small document: status, headers and body, within `request_timeout`."""
        seconds = self.settings.request_timeout
        async with self.request("GET", url, first_byte=seconds, total=seconds) as response:
            return response.status, response.headers, await response.read(limit)


class Exchange:
    """One request and its response, entered with `async with`."""

    __slots__ = ("_client", "_request", "_response", "whole")

    def __init__(self, client: HttpClient, request: Arguments) -> None:
        self._client = client
        self._request = request
        self._response: Response | None = None
        self.whole = False
        """Set by a reader that has all it wanted before the body's end."""

    async def __aenter__(self) -> Response:
        self._response = response = await self._client.open(*self._request)
        return response

    async def __aexit__(self, *_: object) -> None:
        if self._response is not None:
            self._response.finish(whole=self.whole)


async def _upload(connection: Connection, body: AsyncIterable[bytes]) -> None:
    async for piece in body:
        if piece:
            connection.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            if not await connection.drain():
                return
    connection.write(b"0\r\n\r\n")


def check_head(response: Response) -> None:
    """Refuse what the relay never asked for: redirects and compressed bodies."""
    status = response.status
    if 300 <= status < 400:
        raise UpstreamRedirect(
            f"the upstream server redirects ({status}), which is not followed",
            location=response.header(b"location"),
        )
    encoding = response.header(b"content-encoding")
    if encoding and encoding.strip().lower() != "identity":
        raise UpstreamBadResponse("the upstream server compressed its answer although asked not to")


def connect_error(error: OSError) -> RelayError:
    """The error for a connection that could not be made."""
    if isinstance(error, socket.gaierror):
        return UpstreamDNSError("the upstream server's name could not be resolved")
    if isinstance(error, ssl.SSLError | ssl.CertificateError):
        return UpstreamTLSError(f"no secure connection to the upstream server: {error.args[-1]}")
    if isinstance(error, ConnectionResetError):
        return UpstreamDisconnected("the upstream server broke off the connection")
    return UpstreamUnreachable("the upstream server could not be reached")
