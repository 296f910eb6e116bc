"""Requests that the small client does not do: those through a proxy, by aiohttp.

Imported lazily, since aiohttp costs start-up time that most people need not pay.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from .errors import (
    ConnectTimeout,
    FirstByteTimeout,
    IdleTimeout,
    RelayError,
    UpstreamBadResponse,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamTimeout,
    UpstreamTLSError,
    UpstreamUnreachable,
)
from .hosts import is_loopback
from .http_body import read_all
from .server_policy import ServerPolicy
from .settings import Settings


class Owner(Protocol):
    """What a pool offers: settings, TLS context and a place for the session."""

    settings: Settings
    policy: ServerPolicy | None
    session: Any  # aiohttp.ClientSession, once there is one

    def context(self) -> ssl.SSLContext: ...


def proxy_for(settings: Settings, scheme: str, host: str) -> str | None:
    """The proxy for a host, by HTTP_PROXY, HTTPS_PROXY and NO_PROXY; never for loopback.

    NO_PROXY is a list with commas of host names, which include their subdomains, IP addresses,
    networks (`10.0.0.0/8`), or `*`.
    """
    proxy = settings.https_proxy if scheme == "https" else settings.http_proxy
    if not proxy or is_loopback(host) or _bypassed(settings.no_proxy, host):
        return None
    return proxy


def _bypassed(no_proxy: str, host: str) -> bool:
    for entry in (part.strip().lower().lstrip(".") for part in no_proxy.split(",")):
        if not entry:
            continue
        if entry == "*" or host == entry or host.endswith("." + entry):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue  # a name, not a network
    return False


FOREVER = float("inf")


class Clocks:
    """The limits of one exchange: until its first bytes, between bytes after that, in all."""

    def __init__(self, first_byte: float, idle: float, total: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._due, self._idle = now + first_byte, idle
        self._end = FOREVER if total is None else now + total
        self._silent: type[UpstreamTimeout] = FirstByteTimeout

    def waiting(self) -> asyncio.Timeout:
        """The time that the exchange has for its next bytes."""
        return asyncio.timeout_at(min(self._due, self._end))

    def came(self) -> None:
        self._due, self._silent = self._loop.time() + self._idle, IdleTimeout

    @property
    def expired(self) -> type[UpstreamTimeout]:
        """The error for the clock that ran out."""
        return UpstreamTimeout if self._loop.time() >= self._end else self._silent


class LibraryResponse:
    """An aiohttp response with the face of ours."""

    def __init__(self, response: Any, clocks: Clocks) -> None:
        self._response = response
        self._clocks = clocks
        self.status: int = response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return {name.lower(): value for name, value in self._response.headers.items()}

    def header(self, name: bytes) -> str:
        return str(self._response.headers.get(name.decode("latin-1"), ""))

    async def _iterate(self) -> AsyncIterator[bytes]:
        while True:
            try:
                async with self._clocks.waiting():
                    data = await self._response.content.readany()
            except Exception as error:
                raise library_error(error, self._clocks.expired) from error
            if not data:
                return
            self._clocks.came()
            yield data

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._iterate()

    def ready(self, limit: int) -> bytes | None:
        return None

    async def read(self, limit: int) -> bytes:
        return await read_all(self, limit)

    @property
    def encoded(self) -> bool:
        return "content-encoding" in self._response.headers

    def finish(self, *, whole: bool) -> None:
        self._response.close()

    def offer(
        self, taker: Callable[[bytes], bool], frames: Callable[[bytes], bytes] | None = None
    ) -> None:
        """The library has no such place."""


async def library_open(owner: Owner, proxy: str, arguments: tuple[Any, ...]) -> LibraryResponse:
    """Send a request through a proxy, wait for the head."""
    import aiohttp

    method, url, headers, body, limits = arguments
    name: str | None = None
    if owner.policy is not None:
        url, host, name = await owner.policy.pinned(url)
        headers = {**headers, **host}
    session = owner.session
    if session is None:
        session = owner.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("accept-encoding",),
        )
    settings = owner.settings
    patience = min(settings.connect_timeout, settings.request_timeout_fast)
    connecting = aiohttp.ClientTimeout(sock_connect=patience)
    clocks = Clocks(*limits)
    secure = urlsplit(url).scheme == "https"
    try:
        async with clocks.waiting():
            response = await session.request(
                method, url, headers={"accept-encoding": "identity", **headers},
                data=body if body or not isinstance(body, bytes) else None,
                proxy=proxy, allow_redirects=False, timeout=connecting,
                ssl=owner.context() if secure else True, server_hostname=name if secure else None,
            )  # fmt: skip
    except Exception as error:
        raise library_error(error, clocks.expired) from error
    return LibraryResponse(response, clocks)


def library_error(error: Exception, expired: type[UpstreamTimeout]) -> RelayError:
    """Our error for one of aiohttp's; `expired` is the one for a clock of ours."""
    import aiohttp

    kinds: list[tuple[type[Exception], type[RelayError], str]] = [
        (aiohttp.ConnectionTimeoutError, ConnectTimeout, "did not accept the connection"),
        (TimeoutError, expired, "took too long"),
        (aiohttp.ClientSSLError, UpstreamTLSError, "offers no secure connection"),
        (aiohttp.ClientHttpProxyError, UpstreamUnreachable, "could not be reached by the proxy"),
        (aiohttp.ClientConnectorError, UpstreamUnreachable, "could not be reached"),
        (aiohttp.ClientConnectionError, UpstreamDisconnected, "broke off the connection"),
        (aiohttp.ClientPayloadError, UpstreamDisconnected, "broke off its answer"),
        (aiohttp.ClientResponseError, UpstreamBadResponse, "does not answer in HTTP"),
        (aiohttp.ClientError, UpstreamError, "failed"),
        (OSError, UpstreamUnreachable, "could not be reached"),
    ]
    for kind, ours, words in kinds:
        if isinstance(error, kind):
            return ours(f"the upstream server {words}")
    raise error
