"""`/admin`: what `AdminAPI` does, as JSON over HTTP, for the chat UI and for a relay's operators.

| | |
|---|---|
| GET /admin/deployments | all, as they are: `{"object": "list", "data": [DeploymentView]}` |
| POST /admin/deployments | add one, written as a model lock's entry: 201, `{"id": ...}` |
| GET, PATCH, DELETE /admin/deployments/{id} | what an added one says; change it; remove it |
| GET /admin/changes | server-sent events: `{"data": [DeploymentView]}`, whenever they change |
| POST /admin/identify | look at an entry's server without adding it: `Found` |
| POST /admin/test | `{"model"}`: one token, `Tried` |
| POST /admin/load, /admin/unload | `{"model"}`: into and out of its server's memory |
| POST /admin/pools | make a pool, or change one that was added: 201, `{"name": ...}` |
| DELETE /admin/pools/{name} | serve an added pool no more |
| POST /admin/config/reload | read the configuration file again: `Change` |
| GET /admin/config | what is served, as `{"yaml"}`; secrets masked but for `?secrets=true` |
| POST /admin/route | `{"model"}`: who would answer now, and why |
| /admin/keys | `admin_keys` |
| GET /admin/series | `{"data": [Series]}` |
| GET /admin/system | `System` |
| GET /admin/trouble | what is wrong beside the servers: `{"data": [Trouble]}` |
| GET /admin/caller | for the chat page alone: `behind_page.py` |
| GET /admin/usage | what requests used and have cost: `admin_usage.py` |
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict
from typing import Any
from urllib.parse import unquote

import orjson

from h2o_relay.accounting.caller import PAGE
from h2o_relay.admin import AdminAPI
from h2o_relay.errors import InvalidRequest, MethodNotAllowed, UnknownURL

from .admin_keys import ALL as KEYS
from .admin_keys import AdminKeys
from .admin_usage import PATH as USAGE
from .admin_usage import AdminUsage
from .behind_page import PATH as CALLER
from .body import check_media_type, decode
from .desk import Desk
from .exchange import Exchange
from .generation import Attended
from .key_store import KeyStore
from .respond import EVENTS

PREFIX = b"/admin/"
ONE = b"/admin/deployments/"
KEYS_WAIT = 10.0  # seconds that a request waits for the keys to be read after the start
POOL = b"/admin/pools/"
Handler = Callable[[Exchange], Awaitable[None]]


class Admin:
    """Answers the paths below `/admin/` to whom the desk's ring lets in there."""

    def __init__(
        self, api: AdminAPI, desk: Desk, max_body: int, keys: KeyStore | None = None
    ) -> None:
        self._api = api
        self._desk, self._ring, self._keys = desk, desk.ring, keys
        self._troubles = desk.troubles
        self._usage = AdminUsage(api.usage)
        self._page = desk.page
        self._max_body = max_body
        self._routes: dict[bytes, dict[str, Handler]] = {
            b"/admin/deployments": {"GET": self._list, "POST": self._add},
            b"/admin/changes": {"GET": self._changes},
            b"/admin/identify": {"POST": self._identify},
            b"/admin/test": {"POST": self._test},
            b"/admin/load": {"POST": self._load},
            b"/admin/unload": {"POST": self._unload},
            b"/admin/pools": {"POST": self._put_pool},
            b"/admin/config": {"GET": self._config},
            b"/admin/config/reload": {"POST": self._reload},
            b"/admin/route": {"POST": self._explain},
            b"/admin/series": {"GET": self._series},
            b"/admin/trouble": {"GET": self._trouble},
            b"/admin/system": {"GET": self._system},
            USAGE: {"GET": self._usage.answer},
        }
        self._one: dict[str, Handler] = {
            "GET": self._show, "PATCH": self._change, "DELETE": self._remove,
        }  # fmt: skip

    async def answer(self, exchange: Exchange) -> None:
        """Raises RelayError."""
        if self._ring.unread:
            await self._ring.settled(KEYS_WAIT)
        self._desk.identify_admin(exchange)
        path = exchange.path
        handlers = self._routes.get(path)
        if path.startswith(ONE) and path[len(ONE) :].isalnum():
            handlers = self._one
        elif path.startswith(POOL) and len(path) > len(POOL):
            handlers = {"DELETE": self._remove_pool}
        elif self._keys is not None and path.startswith(KEYS):
            keys = AdminKeys(await self._keys.keys(), self._ring, self._max_body)
            handlers = dict(keys.handlers(path) or {}) or None
        elif path == CALLER and self._page is not None and exchange.caller is PAGE:
            handlers = {"GET": self._page.answer}
        if handlers is None:
            shown = path[:100].decode("ascii", "replace")
            raise UnknownURL(f"Unknown request URL: {exchange.method} {shown}.")
        method = "GET" if exchange.method == "HEAD" else exchange.method
        if method not in handlers:
            allow = ", ".join(handlers)
            raise MethodNotAllowed(f"{method} is not allowed here, but {allow} is.", allow=allow)
        with Attended(exchange):
            await handlers[method](exchange)

    async def _body(self, exchange: Exchange) -> Mapping[str, Any]:
        check_media_type(exchange.headers)
        return decode(await exchange.body(self._max_body))

    async def _model(self, exchange: Exchange) -> str:
        model = (await self._body(exchange)).get("model")
        if not isinstance(model, str):
            raise InvalidRequest("'model' must be a string", param="model", code="invalid_type")
        return model

    async def _list(self, exchange: Exchange) -> None:
        async with aclosing(self._api.changes()) as changes:
            data = [asdict(view) for view in await anext(changes)]
        exchange.reply(orjson.dumps({"object": "list", "data": data}))

    async def _add(self, exchange: Exchange) -> None:
        id = await self._api.add(await self._body(exchange))
        exchange.reply(orjson.dumps({"id": id}), 201)

    async def _show(self, exchange: Exchange) -> None:
        exchange.reply(orjson.dumps(await self._api.entry(_id(exchange))))

    async def _change(self, exchange: Exchange) -> None:
        await self._api.change(_id(exchange), await self._body(exchange))
        exchange.reply(b"{}")

    async def _remove(self, exchange: Exchange) -> None:
        await self._api.remove(_id(exchange))
        exchange.reply(b"{}")

    async def _identify(self, exchange: Exchange) -> None:
        found = await self._api.identify(await self._body(exchange))
        exchange.reply(orjson.dumps(asdict(found)))

    async def _test(self, exchange: Exchange) -> None:
        tried = await self._api.try_out(await self._model(exchange))
        exchange.reply(orjson.dumps(asdict(tried)))

    async def _load(self, exchange: Exchange) -> None:
        await self._api.set_loaded(await self._model(exchange), True)
        exchange.reply(b"{}")

    async def _unload(self, exchange: Exchange) -> None:
        await self._api.set_loaded(await self._model(exchange), False)
        exchange.reply(b"{}")

    async def _put_pool(self, exchange: Exchange) -> None:
        name = await self._api.put_pool(await self._body(exchange))
        exchange.reply(orjson.dumps({"name": name}), 201)

    async def _remove_pool(self, exchange: Exchange) -> None:
        name = unquote(exchange.path[len(POOL) :].decode("latin-1"))
        await self._api.remove_pool(name)
        exchange.reply(b"{}")

    async def _config(self, exchange: Exchange) -> None:
        text = await self._api.export(b"secrets=true" in exchange.query.split(b"&"))
        exchange.reply(orjson.dumps({"yaml": text}))

    async def _reload(self, exchange: Exchange) -> None:
        exchange.reply(orjson.dumps(asdict(await self._api.reload())))

    async def _explain(self, exchange: Exchange) -> None:
        exchange.reply(orjson.dumps(await self._api.explain(await self._model(exchange))))

    async def _series(self, exchange: Exchange) -> None:
        data = [asdict(one) for one in await self._api.series()]
        exchange.reply(orjson.dumps({"data": data}))

    async def _trouble(self, exchange: Exchange) -> None:
        data = [asdict(one) for one in self._troubles.now()]
        exchange.reply(orjson.dumps({"object": "list", "data": data}))

    async def _system(self, exchange: Exchange) -> None:
        exchange.reply(orjson.dumps(asdict(await self._api.system())))

    async def _changes(self, exchange: Exchange) -> None:
        exchange.stay()
        exchange.begin(EVENTS)
        try:
            async with aclosing(self._api.changes()) as changes:
                async for views in changes:
                    body = orjson.dumps({"data": [asdict(view) for view in views]})
                    exchange.write(b"data: " + body + b"\n\n")
                    if exchange.full:
                        await exchange.drained()
        except asyncio.CancelledError:
            if exchange.gone:
                raise
        exchange.end(b"")  # the relay is being stopped


def _id(exchange: Exchange) -> str:
    return exchange.path[len(ONE) :].decode("ascii")
