"""The one HTTP client of the kernel: pooled HTTP/1.1, no redirects, no cookies, no surprises.

Small on purpose: a request to an upstream costs a fraction of what general clients ask for it
(docs/performance.md). What is rare goes through aiohttp instead (`http_library`): proxies.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Hashable, Mapping
from typing import Protocol, Self

from .errors import (
    UpstreamBadResponse,
    UpstreamRedirect,
)
from .http_connection import HIGH_WATER
from .http_head import encode_head, head_begin, split_url
from .http_library import library_open
from .http_pool import Limits as Limits
from .http_pool import Pool, Way
from .server_policy import ServerPolicy
from .settings import Settings
from .trace_headers import PASSED_ON, as_mapping


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

    def ready(self, limit: int) -> bytes | None:
        """The whole body, where it is there without waiting; else None, and `read` knows."""
        ...

    async def read(self, limit: int) -> bytes: ...

    def finish(self, *, whole: bool) -> None: ...

    def offer(
        self, taker: Callable[[bytes], bool], frames: Callable[[bytes], bytes] | None = None
    ) -> None:
        """Where this is possible, show what arrives to `taker` while the reader waits for it. What
        that takes, by saying true, does not wake the reader. Of a chunked body `frames` sees whole
        chunks first, as they are, and gives back the rest.
        """
        ...


Arguments = tuple[str, str, Mapping[str, str], bytes | AsyncIterable[bytes], Limits]
"""Method, URL, headers, body, limits."""


class HttpClient:
    """`async with HttpClient(settings) as client`; `client.at(url, headers)` is a view on the same
    pool whose relative URLs begin with `url` and whose requests carry `headers`.
    """

    def __init__(self, settings: Settings, policy: ServerPolicy | None = None) -> None:
        """`policy` judges every address before it is dialled."""
        self.settings = settings
        self._policy = policy
        self._pool: Pool | None = None
        self._base = ""
        self._headers: Mapping[str, str] = {}
        self.ways: dict[Hashable, tuple[Way, object]] = {}
        """Ways that were worked out, for who keeps them here, by what; with what their keys are
        only the ids of."""

    async def __aenter__(self) -> Self:
        self._pool = Pool(self.settings, self._policy)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pool is not None:
            await self._pool.close()
            self._pool = None
            self.ways.clear()

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
        pool, url, headers = self._joined(url, headers)
        origin, path, host = split_url(url)
        more = PASSED_ON.get()
        response: Response
        if pool.proxied and (proxy := pool.proxy_of(origin)) is not None:
            if more:
                headers = {**headers, **as_mapping(more)}
            response = await library_open(pool, proxy, (method, url, headers, body, limits))
        else:
            data = encode_head(method, path, host, headers, body, more)
            upload = None if isinstance(body, bytes) else body
            response = await pool.place(origin).send(data, *limits, upload)
        if response.status >= 300 or response.encoded:
            try:
                check_head(response)
            except BaseException:
                response.finish(whole=False)
                raise
        return response

    def way(self, method: str, url: str, headers: Mapping[str, str], limits: Limits) -> Way | None:
        """What `open` would work out for these whatever the body is; None where there is no such
        thing: through a proxy, and where each request is made anew (a class with its own `open`).
        """
        if type(self) is not HttpClient:
            return None
        pool, url, headers = self._joined(url, headers)
        origin, path, host = split_url(url)
        if pool.proxied and pool.proxy_of(origin) is not None:
            return None
        begin = head_begin(method, path, host, tuple(headers.items()))
        return Way(pool.place(origin), begin, limits, min(self.settings.max_event, HIGH_WATER))

    def _joined(self, url: str, headers: Mapping[str, str]) -> tuple[Pool, str, Mapping[str, str]]:
        if self._pool is None:
            raise RuntimeError("the HTTP client is not open")
        if url[:1] == "/":
            url = self._base + url
        return self._pool, url, {**self._headers, **headers} if self._headers else headers

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
