"""GET /info: what the server is, which model it has and how much that takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from h2o_relay.errors import UpstreamBadResponse
from h2o_relay.http import HttpClient
from h2o_relay.types import Getter, Identified, Kind, Model, Server

from . import failures
from .server_string import headers, root

RANK = 50
MESSAGES_SINCE = (1, 4, 0)
"""The release that brought the Messages API."""
OWN = ("max_concurrent_requests", "max_best_of", "max_stop_sequences", "max_total_tokens")
"""Numbers that every TGI since 0.9 names, and that together nobody else does: neither Gradio nor
Text Embeddings Inference, which have an /info, too."""
INFO_LIMIT = 2**20  # bytes


async def list_models(server: Server, client: HttpClient) -> list[Model]:
    """The one model that a TGI server has. Raises RelayError; UpstreamBadResponse if whoever
    answers is no TGI.
    """
    seconds = client.settings.request_timeout
    exchange = client.request(
        "GET", f"{root(server.url)}/info", headers=headers(server),
        first_byte=seconds, total=seconds,
    )  # fmt: skip
    async with exchange as response:
        if response.status >= 300:
            raise await failures.refusal(response, server)
        body = await response.read(INFO_LIMIT)
    found = read_info(body)
    if found is None:
        raise UpstreamBadResponse("the server's /info is not that of a TGI server")
    return [model_of(found)]


async def identify(server: Server, get: Getter) -> Identified | None:
    """A TGI server is known by its /info; headers, path, user and password are carried over."""
    status, _, body = await get("/info")
    if status != 200 or read_info(body) is None:
        return None
    secret = server.password or server.headers.get("authorization", "").partition(" ")[2]
    found = replace(
        server, plugin="tgi", url=root(server.url), key=server.key or secret or None
    )  # the key is what errors are cleaned of; headers() sends the other credentials before it
    return Identified(server=found, rank=RANK)


def read_info(body: bytes) -> dict[str, Any] | None:
    """The Info object, or None if it is not one of a TGI server."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict) or not all(_is_count(found.get(name)) for name in OWN):
        return None
    texts = (found.get("model_id"), found.get("version"))
    return found if all(isinstance(text, str) and text for text in texts) else None


def model_of(info: Mapping[str, Any]) -> Model:
    """The model that an Info object describes."""
    chats = version_of(info["version"]) >= MESSAGES_SINCE
    kinds: frozenset[Kind] = frozenset({"chat", "text"} if chats else {"text"})
    return Model(
        id=info["model_id"], max_context=info["max_total_tokens"] or None, kinds=kinds, raw=info
    )


def version_of(text: str) -> tuple[int, ...]:
    """The numbers of a version: (2, 4, 1) for `2.4.1-dev0`; () for none."""
    numbers = re.match(r"v?(\d+(?:\.\d+)*)", text)
    return tuple(map(int, numbers[1].split("."))) if numbers else ()


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0
