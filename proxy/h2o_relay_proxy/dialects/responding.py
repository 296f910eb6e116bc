"""OpenAI's /responses: new ones, and those that are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable
from urllib.parse import unquote

import orjson

from h2o_relay.accounting.credentials import credentials
from h2o_relay.errors import MethodNotAllowed, UnknownURL

from ..exchange import Exchange
from ..generation import Attended
from ..respond import ESTIMATED
from ..telling import backend
from .base import Exchanged
from .responses import Kept, Responses
from .serving import Translating

PREFIX = b"/v1/responses/"
Handler = Callable[[Exchange], Awaitable[None]]


def owner_of(exchange: Exchange) -> str:
    """Whose responses a caller may see: a digest of the keys that the request presents."""
    presented = b"\0".join(sorted(credentials(exchange.header_list)))
    return hashlib.sha256(presented).hexdigest()


@runtime_checkable
class Bringing(Protocol):
    """A `Kept` that is somewhere else."""

    async def bring(self, owner: str, ids: Sequence[str]) -> None:
        """Have here what is kept under these ids of responses and items, and nothing else."""


def referred(params: Mapping[str, Any]) -> list[str]:
    """Ids of responses and items that a request may go on from. It was not checked yet."""
    items = params.get("input")
    named = [item.get("id") for item in items if type(item) is dict] if type(items) is list else []
    return [id for id in (params.get("previous_response_id"), *named) if type(id) is str]


class Responding:
    """Answers everything below /responses."""

    def __init__(self, translating: Translating, kept: Kept | None = None) -> None:
        self._translating = translating
        self._kernel = translating.kernel
        self._brought = kept if isinstance(kept, Bringing) else None
        self._dialect = Responses(Kept() if kept is None else kept)

    async def answer(self, exchange: Exchange) -> None:
        """POST /responses: by the model's server, where it speaks this API and has what the request
        goes on from, else translated.
        """
        exchanged = await self._read(exchange)
        if exchanged is not None:
            await self._translating.translated(self._dialect, exchanged, exchange)

    async def count(self, exchange: Exchange) -> None:
        """POST /responses/input_tokens."""
        asked = await self._read(exchange)
        if asked is None:
            return
        told = self._translating.dropped(asked.dropped, exchange)
        with Attended(exchange):
            count = await self._kernel.count_tokens(asked.params)
        told += backend(count.deployment.server.plugin or "")
        counted = {"object": "response.input_tokens", "input_tokens": count.tokens}
        if count.estimated:
            told, counted = told + ESTIMATED, {**counted, "estimated": True}
        exchange.reply(orjson.dumps(counted), extra=told)

    async def _read(self, exchange: Exchange) -> Exchanged | None:
        """A request that is ours to translate; None once a server has answered it."""
        body, params = await self._translating.read(exchange)
        owner = owner_of(exchange)
        if self._brought is not None:
            await self._brought.bring(owner, referred(params))
        ours = self._dialect.refers(params, owner)
        if not ours and await self._translating.forwarded(self._dialect, body, params, exchange):
            return None
        return self._dialect.read_for(params, owner)

    def route(self, method: str, path: bytes) -> Handler:
        """What answers a path below /responses. Raises UnknownURL, MethodNotAllowed."""
        id, _, what = path[len(PREFIX) :].decode("latin-1").partition("/")
        allowed = {"": ("GET", "HEAD", "DELETE"), "input_items": ("GET", "HEAD"),
                   "cancel": ("POST",)}.get(what, ())  # fmt: skip
        if not id or not allowed or path.endswith(b"/"):
            shown = path[:100].decode("ascii", "replace")
            raise UnknownURL(f"Unknown request URL: {method} {shown}.")
        if method not in allowed:
            allow = ", ".join(allowed)
            raise MethodNotAllowed(f"{method} is not allowed here, but {allow} is.", allow=allow)
        return partial(self._kept, unquote(id), "delete" if method == "DELETE" else what)

    async def _kept(self, id: str, what: str, exchange: Exchange) -> None:
        dialect, owner = self._dialect, owner_of(exchange)
        if self._brought is not None:
            await self._brought.bring(owner, [id])
        if what == "delete":
            body = dialect.delete(id, owner)
        elif what == "cancel":
            body = dialect.cancel(id, owner)
        elif what == "input_items":
            body = dialect.input_items(id, owner, exchange.query)
        else:
            body = dialect.retrieve(id, owner, exchange.query)
        exchange.reply(body)
