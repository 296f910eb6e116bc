"""/v1/chat/completions and /v1/completions: decode, check, ask the kernel, pass bytes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from h2o_relay.errors import Overloaded, RelayError
from h2o_relay.kernel import KernelAPI
from h2o_relay.types import Deployment, Kind

from .attend import Attendance
from .body import Headers, Receive, check_media_type, decode, read_body
from .checks import check
from .respond import DONE, EVENTS, Header, Send, error_event, send_json

log = logging.getLogger(__name__)


class Generation:
    """Answers generation requests out of a kernel."""

    def __init__(self, kernel: KernelAPI, max_body: int) -> None:
        self._kernel = kernel
        self._max_body = max_body

    async def answer(
        self, kind: Kind, headers: Headers, receive: Receive, send: Send, request_id: Header
    ) -> None:
        """Raises RelayError while nothing has been sent; after that, errors become events."""
        check_media_type(headers)
        body = await read_body(receive, headers, self._max_body)
        params = decode(body)
        check(kind, params)
        with Attendance(receive) as client:
            if params.get("stream"):
                await self._stream(kind, params, body, send, request_id, client)
            else:
                await self._whole(kind, params, body, send, request_id)
        if client.gone:
            log.debug("%s: the client has gone", request_id[1].decode())

    async def _whole(
        self, kind: Kind, params: Mapping[str, Any], body: bytes, send: Send, request_id: Header
    ) -> None:
        completion = await self._kernel.generate(kind, params, body)
        told = about(completion.deployment, completion.dropped)
        await send_json(send, completion.body, headers=(request_id, *told))

    async def _stream(
        self, kind: Kind, params: Mapping[str, Any], body: bytes, send: Send,
        request_id: Header, client: Attendance,
    ) -> None:  # fmt: skip
        async with self._kernel.stream(kind, params, body) as answer:
            headers = [*EVENTS, request_id, *about(answer.deployment, answer.dropped)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            last = DONE
            try:
                async for chunk in answer:
                    await send({"type": "http.response.body", "body": chunk.raw, "more_body": True})
            except RelayError as error:
                log.debug("%s: %s in mid-stream", request_id[1].decode(), error.code)
                last = error_event(error)
            except asyncio.CancelledError:
                if client.gone:
                    raise
                last = error_event(Overloaded("The relay is shutting down.", code="draining"))
                await send({"type": "http.response.body", "body": last})
                raise
            await send({"type": "http.response.body", "body": last})


def about(deployment: Deployment | None, unread: tuple[str, ...]) -> list[Header]:
    """Headers that tell who answered, and what of the request it does not honour."""
    headers: list[Header] = []
    if deployment is not None:
        headers.append((b"x-h2o-backend", (deployment.server.plugin or "").encode("latin-1")))
    if unread:
        names = ", ".join(name for name in unread if name.isascii() and name.isprintable())
        headers.append((b"x-h2o-dropped-params", names.encode()))
    return headers
