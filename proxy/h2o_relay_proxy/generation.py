"""/v1/chat/completions and /v1/completions: decode, check, ask the kernel, pass bytes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from h2o_relay.errors import RelayError
from h2o_relay.kernel import KernelAPI
from h2o_relay.types import Deployment, Kind

from .attend import Attendance
from .body import check_media_type, decode, read_body
from .checks import check
from .incoming import Incoming
from .respond import DONE, EVENTS_HEAD, Header, Headers, draining, error_event, send_json

log = logging.getLogger(__name__)


class Generation:
    """Answers generation requests out of a kernel."""

    def __init__(self, kernel: KernelAPI, max_body: int) -> None:
        self._kernel = kernel
        self._max_body = max_body

    async def answer(self, kind: Kind, incoming: Incoming) -> None:
        """Raises RelayError while nothing has been sent; after that, errors become events."""
        check_media_type(incoming.headers)
        body = await read_body(incoming.receive, incoming.headers, self._max_body)
        params = decode(body)
        check(kind, params)
        with Attendance(incoming.scope, incoming.receive) as client:
            if params.get("stream"):
                await self._stream(kind, params, body, incoming, client)
            else:
                await self._whole(kind, params, body, incoming)
        if client.gone:
            log.debug("%s: the client has gone", incoming.name)

    async def _whole(
        self, kind: Kind, params: Mapping[str, Any], body: bytes, incoming: Incoming
    ) -> None:
        completion = await self._kernel.generate(kind, params, body)
        told = about(completion.deployment, completion.dropped)
        await send_json(incoming.send, completion.body, headers=(incoming.id, *told))

    async def _stream(
        self, kind: Kind, params: Mapping[str, Any], body: bytes, incoming: Incoming,
        client: Attendance,
    ) -> None:  # fmt: skip
        send = incoming.send
        async with self._kernel.stream(kind, params, body) as answer:
            told = about(answer.deployment, answer.dropped)
            headers = Headers(EVENTS_HEAD, incoming.id, *told)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            last = DONE
            try:
                async for chunk in answer:
                    await send({"type": "http.response.body", "body": chunk.raw, "more_body": True})
            except RelayError as error:
                log.debug("%s: %s in mid-stream", incoming.name, error.code)
                last = error_event(error)
            except asyncio.CancelledError:
                if client.gone:
                    raise
                last = error_event(draining())
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
