"""Replicate's HTTP API: JSON both ways, its errors, and which requests may be repeated.

Source: Replicate's HTTP API reference; errors are RFC 7807 problem details, whose `detail` is for
people. The gateways in front of it at times answer with a page of HTML instead. A GET is then
repeated. Creating a prediction is not, unless the status says that it cannot have arrived: it could
run, and be paid for, twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import orjson

from h2o_relay.errors import (
    RelayError,
    UpstreamAuthError,
    UpstreamBadResponse,
    error_object,
    from_response,
    redact,
)
from h2o_relay.http import HttpClient
from h2o_relay.openai_shape import beginning, media_type, seconds_to_wait

from .events import Events

PAUSES = (0.1, 0.3, 0.9)  # seconds before an answer that was not JSON is asked for again
NEVER_ARRIVED = frozenset({429, 521, 522, 523})
"""Throttled at the edge, or (Cloudflare's own) the origin could not be reached at all."""
JSON = {"content-type": "application/json", "accept": "application/json"}
EVENT_STREAM = {"accept": "text/event-stream", "cache-control": "no-store"}


class Api:
    """The API by a client whose base URL and token are the server's."""

    def __init__(self, client: HttpClient, secret: str | None, base: str) -> None:
        self.client = client
        self._secret = secret
        self._scheme = base.partition(":")[0]

    async def get(self, url: str) -> dict[str, Any]:
        """A JSON object. `url` may be a path below /v1. Raises the error that fits."""
        limit = self.client.settings.request_timeout
        for pause in (*PAUSES, None):
            found = await self._exchange("GET", url, first_byte=limit, total=limit)
            if found.is_json or pause is None:
                return found.object(self._secret)
            await asyncio.sleep(pause)
        raise AssertionError("the last pause is None")

    async def create(self, path: str, order: Mapping[str, Any], wait: int | None) -> dict[str, Any]:
        """A new prediction; with `wait` the answer is held back for its output, so many seconds."""
        headers = {"prefer": f"wait={wait}"} if wait else {}
        body = orjson.dumps(order)
        limit = self.client.settings.first_byte_timeout + (wait or 0)
        for pause in (*PAUSES, None):
            found = await self._exchange("POST", path, body=body, headers=headers, first_byte=limit)
            if found.is_json or pause is None or found.status not in NEVER_ARRIVED:
                return found.object(self._secret, "whether the prediction runs is not known")
            await asyncio.sleep(pause)
        raise AssertionError("the last pause is None")

    async def cancel(self, url: str) -> None:
        """Stop a prediction; one that has ended stays as it is."""
        limit = self.client.settings.request_timeout
        for pause in (*PAUSES, None):
            found = await self._exchange("POST", url, first_byte=limit, total=limit)
            if found.is_json or found.status < 300 or pause is None:
                break
            await asyncio.sleep(pause)
        if found.status >= 300:
            raise found.error(self._secret)

    async def events(
        self, url: str, first_byte: float, idle: float
    ) -> AsyncGenerator[tuple[str, str], None]:
        """Types and data of a prediction's events, to their end or that of the connection."""
        for pause in (*PAUSES, None):
            exchange = self.client.request(
                "GET", self.checked(url), headers=EVENT_STREAM, first_byte=first_byte, idle=idle
            )
            async with exchange as response:
                if response.status == 200 and media_type(response).startswith("text/event-stream"):
                    parser = Events(self.client.settings.max_event)
                    async for data in response:
                        for kind, text in parser.feed(data):
                            exchange.whole = kind == "done"
                            yield kind, text
                    return
                found = _Found(response.status, response.headers, await beginning(response))
            if found.is_json or pause is None:
                raise found.error(self._secret)
            await asyncio.sleep(pause)

    def checked(self, url: str) -> str:
        """A URL that the API gave; the token goes there, so it must not leave TLS."""
        if not url.startswith(("/", f"{self._scheme}://", "https://")):
            raise UpstreamBadResponse("the upstream server gave a URL that cannot be used")
        return url

    async def _exchange(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        first_byte: float,
        total: float | None = None,
    ) -> _Found:
        async with self.client.request(
            method, self.checked(url), headers={**JSON, **(headers or {})}, body=body,
            first_byte=first_byte, total=total,
        ) as response:  # fmt: skip
            if response.status >= 300:
                data = await beginning(response)
            else:
                data = await response.read(self.client.settings.max_event)
            return _Found(response.status, response.headers, data)


class _Found:
    """An answer, read whole."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body
        try:
            self.data = orjson.loads(body)
            self.is_json = True
        except orjson.JSONDecodeError:
            self.data, self.is_json = None, False

    def object(self, secret: str | None, doubt: str = "") -> dict[str, Any]:
        """The JSON object that it is; raises the error that it is. `doubt` is added to the error
        where the answer says nothing about the request."""
        if self.status < 300 and isinstance(self.data, dict):
            return self.data
        raise self.error(secret, doubt)

    def error(self, secret: str | None, doubt: str = "") -> RelayError:
        doubt = f"; {doubt}" if doubt else ""
        if self.status == 402:
            why = redact(error_object(self.body), secret).get("message", "")
            return UpstreamAuthError(
                f"the account at Replicate must be paid for (402): {why}"[:500]
            )
        if self.status >= 400:
            error = from_response(
                self.status, self.body, retry_after=self._retry_after(), secret=secret
            )
            if not self.is_json and self.status >= 500:
                error.message += doubt
            return error
        what = "is of the wrong shape" if self.is_json else "is not JSON"
        return UpstreamBadResponse(f"the upstream server's answer {what}{doubt}")

    def _retry_after(self) -> float | None:
        """Seconds; Replicate's own header is `ratelimit-reset`."""
        names = ("retry-after", "ratelimit-reset")
        return next((s for n in names if (s := seconds_to_wait(self.headers.get(n)))), None)
