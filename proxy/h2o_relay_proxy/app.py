"""The API as one application: exact paths, whole answers, OpenAI's errors everywhere.

Routes are matched on the path as it was sent. `/v1/*` is reserved: what is unknown there is
OpenAI's 404, and so is everything else.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import unquote

import orjson

from h2o_relay.accounting.limits import Limits
from h2o_relay.accounting.prices import NO_PRICES
from h2o_relay.accounting.ring import KeyRing
from h2o_relay.admin import AdminAPI
from h2o_relay.errors import (
    Forbidden,
    MethodNotAllowed,
    RelayError,
    RequestTooLarge,
    Unauthorized,
    UnknownURL,
    UnsupportedMediaType,
)
from h2o_relay.faults import let_go
from h2o_relay.hosts import host_allowed
from h2o_relay.kernel import KernelAPI
from h2o_relay.settings import Settings

from .admin import PREFIX, Admin
from .behind_page import BehindPage
from .cors import Cors
from .desk import Desk
from .dialects.messages import listing
from .dialects.responding import PREFIX as RESPONSES
from .dialects.responding import Responding
from .dialects.responses import Kept
from .dialects.serving import Translating
from .exchange import ClientGone, Exchange
from .forwarding import Forwarding, knows
from .framing import Refused
from .generation import Generation
from .key_store import KeyStore
from .listed import by_name, model_entry, readiness
from .openapi import encoded
from .respond import CLOSE, cut_short, draining, reply_error
from .root_path import below, prefix_of

MODEL_PATH = b"/v1/models/"
ALIVE = b"/health"
OPEN_PATHS = frozenset({ALIVE, b"/readyz"})
GOOD_HOSTS = 64  # Host headers that are remembered as allowed
KEYS_WAIT = 10.0  # seconds that a request waits for the keys to be read after the start
LIST_WAIT = 2.0  # seconds that a list waits for the first server to say what it has
EARLY = (
    Forbidden,
    Unauthorized,
    UnknownURL,
    MethodNotAllowed,
    UnsupportedMediaType,
    RequestTooLarge,
)
"""What is raised before a request's body is read."""
Handler = Callable[[Exchange], Awaitable[None]]
log = logging.getLogger(__name__)


def create_app(
    kernel: KernelAPI,
    settings: Settings,
    instance: str = "",
    admin: AdminAPI | None = None,
    internal_key: str | None = None,
    desk: Desk | None = None,
    keys: KeyStore | None = None,
    kept: Kept | None = None,
) -> App:
    """The application over an open kernel; `instance` tells relays apart. With `admin` it answers
    /admin too, for ADMIN_PASS and `internal_key`, which is good wherever a key is, and with `keys`
    /admin/keys. Without a `desk` there are the settings' keys alone, and nobody counts. `kept` is
    where responses are kept, if not here.
    """
    if desk is None:
        ring = KeyRing(settings, internal=internal_key)
        page = BehindPage(settings, ring)
        desk = Desk(kernel, ring, Limits(), lambda: NO_PRICES, page=page)
    return App(kernel, settings, instance, admin, desk, keys, kept)


class App:
    """Called with each exchange. Holds no state but the kernel, and whether it leaves."""

    leaving = False
    """Requests are refused from now on; those that run go on."""

    def __init__(
        self, kernel: KernelAPI, settings: Settings, instance: str, admin: AdminAPI | None,
        desk: Desk, keys: KeyStore | None, kept: Kept | None = None,
    ) -> None:  # fmt: skip
        self._kernel = kernel
        self._desk = desk
        self._admin = None
        if admin is not None:
            self._admin = Admin(admin, desk, settings.max_body, keys)
        self._instance = instance
        self._settings = settings
        self._good_hosts: set[bytes] = set()
        self._cors = Cors(settings)
        self._prefix = prefix_of(settings)
        self._generation = Generation(kernel, desk, settings.max_body, settings.strict_params)
        self._forwarding = Forwarding(kernel, desk, settings)
        self._gets: dict[bytes, Handler] = {
            ALIVE: self._health,
            b"/readyz": self._ready,
            b"/v1/models": self._models,
            b"/openapi.json": self._described,
        }
        if desk.metrics is not None:
            self._gets[b"/metrics"] = self._metrics
        translating = Translating(
            kernel, desk, self._forwarding, settings.max_body, settings.strict_params
        )
        self._responding = Responding(translating, kept)
        self._posts: dict[bytes, Handler] = {
            b"/v1/chat/completions": partial(self._generation.answer, "chat"),
            b"/v1/completions": partial(self._generation.answer, "text"),
            b"/v1/responses": self._responding.answer,
            b"/v1/responses/input_tokens": self._responding.count,
            b"/v1/messages": translating.message,
            b"/v1/messages/count_tokens": translating.count,
        }

    async def __call__(self, exchange: Exchange) -> None:
        self._desk.begin(exchange)
        head = exchange.head
        try:
            handler = head.handler
            if handler is None or self.leaving:
                handler = await self._admitted(exchange)
            else:  # it came before
                exchange.path = head.route
                self._desk.identify(exchange)
            if handler is not None:
                await handler(exchange)
        except RelayError as error:
            unread = isinstance(error, EARLY) and exchange.has_body
            reply_error(exchange, error, CLOSE if unread or self.leaving else b"")
            let_go(error)
        except ClientGone as gone:
            log.debug("%s: the client has gone", exchange.name)
            let_go(gone)
        except asyncio.CancelledError as cut:  # the relay's patience with what still runs is over
            if not exchange.started:
                reply_error(exchange, cut_short(exchange), CLOSE)
            let_go(cut)
        except Exception as error:
            log.exception("%s: failed", exchange.name)
            message = f"The relay failed. Its log has the reason under {exchange.name}."
            reply_error(exchange, RelayError(message))
            let_go(error)
        finally:
            self._desk.over(exchange)

    async def _admitted(self, exchange: Exchange) -> Handler | None:
        """What answers a request that may come in; None if it was a browser's question, which is
        answered by now. Raises RelayError.
        """
        path = exchange.path = below(self._prefix, exchange.path)
        if self.leaving and path != ALIVE:
            raise draining()
        host = exchange.headers.get(b"host", b"")
        if host not in self._good_hosts:
            await self._check_host(host)
        if self._cors.admit(exchange):
            return None
        if path not in OPEN_PATHS and not path.startswith(PREFIX):
            if self._desk.ring.unread:
                await self._desk.ring.settled(KEYS_WAIT)
            self._desk.identify(exchange)
        handler = self._posts.get(path) if exchange.method == "POST" else None
        if handler is None:
            return self._route(exchange.method, path)
        if b"origin" not in exchange.headers:
            exchange.head.route, exchange.head.handler = path, handler
        return handler

    def refused(self, request: Refused, error: RelayError) -> None:
        """The connection itself has answered a request."""
        self._desk.refused(request._replace(path=below(self._prefix, request.path)), error)

    async def _check_host(self, host: bytes) -> None:
        """Raises Forbidden for a Host header that is not ours."""
        ring = self._desk.ring
        if not ring.needed and not host_allowed(host.decode("latin-1"), self._settings):
            if ring.unread:  # with a key any name will do, and the store may have one
                await ring.settled(KEYS_WAIT)
            if not ring.needed:
                raise Forbidden("This host name is not allowed; --allowed-hosts names more.")
        if len(self._good_hosts) < GOOD_HOSTS:
            self._good_hosts.add(host)

    def _route(self, method: str, path: bytes) -> Handler:
        """What answers a request that is no POST to a path of ours: what we know of our servers,
        or the servers themselves. Raises UnknownURL, MethodNotAllowed.
        """
        get = self._gets.get(path)
        if get is None and path.startswith(MODEL_PATH) and path != MODEL_PATH:
            get = partial(self._model, unquote(path[len(MODEL_PATH) :].decode("latin-1")))
        if get is not None and method in ("GET", "HEAD"):
            return get
        if self._admin is not None and path.startswith(PREFIX):
            return self._admin.answer
        if path.startswith(RESPONSES) and path not in self._posts:
            return self._responding.route(method, path)
        if get is None and method == "POST" and self._forwarding.offers(path):
            return self._forwarding.answer
        posted = path in self._posts or knows(path)
        allow = "GET, HEAD" if get is not None else "POST" if posted else None
        if allow is None:
            shown = path[:100].decode("ascii", "replace")
            raise UnknownURL(f"Unknown request URL: {method} {shown}.")
        raise MethodNotAllowed(f"{method} is not allowed here, but {allow} is.", allow=allow)

    async def _health(self, exchange: Exchange) -> None:
        """Alive, whatever the servers do; how they are doing beside it."""
        servers = Counter(status.state for status in self._kernel.status())
        told: dict[str, Any] = {"status": "ok", "servers": servers}
        if self._desk.troubles.now():
            told["trouble"] = "see the log"  # this needs no key
        exchange.reply(orjson.dumps(told))

    async def _ready(self, exchange: Exchange) -> None:
        """Ready while a model can answer, as far as is known."""
        exchange.reply(orjson.dumps(readiness(self._kernel.deployments())))

    async def _metrics(self, exchange: Exchange) -> None:
        assert self._desk.metrics is not None
        await self._desk.metrics.answer(self._kernel, exchange)  # type: ignore[arg-type]

    async def _described(self, exchange: Exchange) -> None:
        exchange.reply(encoded())

    async def _models(self, exchange: Exchange) -> None:
        if not self._kernel.models():
            await self._kernel.settled(LIST_WAIT)
        models = self._desk.visible(exchange.caller)
        if listing.VERSION in exchange.headers:
            exchange.to_anthropic = True
            exchange.reply(listing.listed(models, exchange.query.decode("latin-1")))
            return
        views = by_name(self._kernel.deployments())
        data = [model_entry(model, views.get(model.name), self._instance) for model in models]
        exchange.reply(orjson.dumps({"object": "list", "data": data}))

    async def _model(self, name: str, exchange: Exchange) -> None:
        model = self._desk.find(exchange.caller, name)
        if listing.VERSION in exchange.headers:
            exchange.to_anthropic = True
            exchange.reply(listing.one(model))
            return
        view = by_name(self._kernel.deployments()).get(model.name)
        exchange.reply(orjson.dumps(model_entry(model, view, self._instance)))
