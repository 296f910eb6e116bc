"""What guards the API and /admin/keys, on a real socket and a real store."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson

from h2o_relay.accounting.ring import KeyRing
from h2o_relay.errors import MethodNotAllowed, RelayError, UnknownURL
from h2o_relay.http import HttpClient
from h2o_relay.store import Keys, Store
from h2o_relay.testing.settings import quick
from h2o_relay_proxy.admin_keys import AdminKeys
from h2o_relay_proxy.app import App
from h2o_relay_proxy.exchange import Exchange
from h2o_relay_proxy.ports import address, bind
from h2o_relay_proxy.respond import reply_error
from h2o_relay_proxy.server import running

MASTER = "master-canary-0123456789"
INTERNAL = "internal-canary-0123456789"


class Door:
    """Tells whoever passes who he is; answers /admin/keys."""

    leaving = False

    def __init__(self, ring: KeyRing, admin: AdminKeys) -> None:
        self._ring, self._admin = ring, admin

    async def __call__(self, exchange: Exchange) -> None:
        try:
            await self._answer(exchange)
        except RelayError as error:
            reply_error(exchange, error)

    async def _answer(self, exchange: Exchange) -> None:
        if not exchange.path.startswith(b"/admin/"):
            caller = self._ring.find(exchange.header_list)
            exchange.reply(orjson.dumps({"id": caller.id}))
            return
        self._ring.find_admin(exchange.header_list)
        handlers = self._admin.handlers(exchange.path)
        if handlers is None:
            raise UnknownURL("There is nothing here.")
        if exchange.method not in handlers:
            raise MethodNotAllowed("Not so.", allow=", ".join(handlers))
        await handlers[exchange.method](exchange)


@dataclass
class Guarded:
    url: str
    port: int
    ring: KeyRing
    keys: Keys
    http: HttpClient

    async def ask(
        self, method: str, path: str, key: str | None = MASTER, body: Any = None
    ) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        headers = {"authorization": f"Bearer {key}"} if key is not None else {}
        return await self.send(method, path, headers, body)

    async def send(
        self, method: str, path: str, headers: Mapping[str, str], body: Any = None
    ) -> tuple[int, Any]:
        sent = b"" if body is None else orjson.dumps(body)
        kind = {} if body is None else {"content-type": "application/json"}
        url = self.url + path
        async with self.http.request(method, url, headers={**headers, **kind}, body=sent) as found:
            return found.status, orjson.loads(await found.read(2**20))


@contextlib.asynccontextmanager
async def guarded(folder: Path, source: Any = None, **changes: Any) -> AsyncIterator[Guarded]:
    """`source` stands between the ring and the store, which is in `folder`."""
    settings = quick(**{"admin_pass": MASTER, **changes})
    async with Store(f"sqlite:///{folder}/relay.db") as store:
        keys = Keys(store)
        async with KeyRing(settings, source or keys, internal=INTERNAL) as ring:
            await ring.settled(5)
            app = cast(App, Door(ring, AdminKeys(keys, ring, settings.max_body)))
            sock = bind("127.0.0.1", 0)
            async with running(app, settings, sock), HttpClient(settings) as http:
                port = sock.getsockname()[1]
                yield Guarded(address(sock), port, ring, keys, http)
