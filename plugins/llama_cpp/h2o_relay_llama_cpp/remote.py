"""A llama.cpp server that somebody else runs, found behind a bare URL.

Routes and fields are those of the README of llama.cpp's HTTP server: `/props` has
`default_generation_settings`, `/v1/models` names `llamacpp` as the owner of the model, and every
answer, a refusal or "still loading" too, has the header `Server: llama.cpp` (which a proxy in front
of it may change).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson

from h2o_relay.types import Endpoint, Getter, Identified, Server

RANK = 50
OWNER, PRODUCT = "llamacpp", "llama.cpp"


async def identify(server: Server, get: Getter) -> Identified | None:
    """A llama.cpp server by its header, its model list or its properties."""
    status, headers, body = await get("/v1/models")
    if headers.get("server") != PRODUCT and not (status == 200 and _owns(decoded(body))):
        status, _, body = await get("/props")
        settings = decoded(body).get("default_generation_settings")
        if status != 200 or not isinstance(settings, Mapping):
            return None
    found = Server(
        plugin="llama_cpp",
        url=(server.url or "").rstrip("/").removesuffix("/v1"),
        api="chat",
        key=server.password,
        headers=server.headers,
        shown=server.shown,
    )
    return Identified(server=found, rank=RANK)


@asynccontextmanager
async def endpoint(server: Server) -> AsyncIterator[Endpoint]:
    """Where it is and what it is told with every request; it runs already."""
    key = {"authorization": f"Bearer {server.key}"} if server.key else {}
    yield Endpoint(url=server.url or "", headers={**key, **server.headers})


def _owns(listed: Mapping[str, Any]) -> bool:
    entries = listed.get("data")
    return isinstance(entries, list) and any(
        isinstance(entry, Mapping) and entry.get("owned_by") == OWNER for entry in entries
    )


def decoded(body: bytes) -> Mapping[str, Any]:
    """The JSON object; nothing for anything else."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return data if isinstance(data, dict) else {}
