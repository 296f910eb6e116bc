"""The API as one ASGI application: exact paths, raw answers, OpenAI's errors everywhere.

Routes are matched on the path as it was sent. `/v1/*` is reserved: what is unknown there is
OpenAI's 404, and so is everything else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import unquote

import orjson

from h2o_relay.catalog import INSTANCE_FIELD
from h2o_relay.errors import (
    Forbidden,
    MethodNotAllowed,
    RelayError,
    RequestTooLarge,
    Unauthorized,
    UnknownURL,
    UnsupportedMediaType,
    UpstreamUnavailable,
)
from h2o_relay.hosts import host_allowed
from h2o_relay.kernel import KernelAPI
from h2o_relay.settings import Settings
from h2o_relay.types import Deployment

from .auth import authenticate
from .body import ClientGone, Receive
from .generation import Generation
from .incoming import Incoming
from .respond import CLOSE, Send, draining, send_error, send_json

MODEL_PATH = b"/v1/models/"
OPEN_PATHS = frozenset({b"/health", b"/readyz"})
GOOD_HOSTS = 64  # Host headers that are remembered as allowed
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
Handler = Callable[[Incoming], Awaitable[None]]
log = logging.getLogger(__name__)


def create_app(kernel: KernelAPI, settings: Settings, instance: str = "") -> App:
    """The application over an open kernel; `instance` tells relays apart."""
    return App(kernel, settings, instance)


class App:
    """ASGI 3. Holds no state but the kernel."""

    def __init__(self, kernel: KernelAPI, settings: Settings, instance: str) -> None:
        self._kernel = kernel
        self._key = settings.api_key.encode() if settings.api_key else None
        self._instance = instance
        self._settings = settings
        self._good_hosts: set[bytes] = set()
        self._generation = Generation(kernel, settings.max_body)
        self._gets: dict[bytes, Handler] = {
            b"/health": self._health,
            b"/readyz": self._ready,
            b"/v1/models": self._models,
        }
        self._posts: dict[bytes, Handler] = {
            b"/v1/chat/completions": partial(self._generation.answer, "chat"),
            b"/v1/completions": partial(self._generation.answer, "text"),
        }

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._other(scope, receive, send)
        incoming = Incoming(scope, receive, send)
        try:
            path = scope["raw_path"]
            host = incoming.headers.get(b"host", b"")
            if host not in self._good_hosts:
                self._check_host(host)
            if path not in OPEN_PATHS:
                authenticate(scope["headers"], self._key)
            await self._route(scope["method"], path)(incoming)
        except RelayError as error:
            unread = isinstance(error, EARLY) and incoming.has_body
            await send_error(send, error, (incoming.id, CLOSE) if unread else (incoming.id,))
        except ClientGone:
            log.debug("%s: the client left while sending its request", incoming.name)
        except asyncio.CancelledError:  # uvicorn's patience with what still runs is over
            await send_error(send, draining(), (incoming.id, CLOSE))
        except Exception:
            log.exception("%s: failed", incoming.name)
            message = f"The relay failed. Its log has the reason under {incoming.name}."
            await send_error(send, RelayError(message), (incoming.id,))

    def _check_host(self, host: bytes) -> None:
        """Raises Forbidden for a Host header that is not ours."""
        if not host_allowed(host.decode("latin-1"), self._settings):
            raise Forbidden("This host name is not allowed; --allowed-hosts names more.")
        if len(self._good_hosts) < GOOD_HOSTS:
            self._good_hosts.add(host)

    async def _other(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """The lifespan protocol, in case a server insists on it; nothing else is spoken."""
        while scope["type"] == "lifespan":
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return

    def _route(self, method: str, path: bytes) -> Handler:
        """Raises UnknownURL, MethodNotAllowed."""
        if method == "POST":
            handler = self._posts.get(path)
            if handler is not None:
                return handler
        get = self._gets.get(path)
        if get is None and path.startswith(MODEL_PATH) and path != MODEL_PATH:
            get = partial(self._model, unquote(path[len(MODEL_PATH) :].decode("latin-1")))
        if get is not None and method in ("GET", "HEAD"):
            return get
        allow = "GET, HEAD" if get is not None else "POST" if path in self._posts else None
        if allow is None:
            shown = path[:100].decode("ascii", "replace")
            raise UnknownURL(f"Unknown request URL: {method} {shown}.")
        raise MethodNotAllowed(f"{method} is not allowed here, but {allow} is.", allow=allow)

    async def _health(self, incoming: Incoming) -> None:
        """Alive, whatever the servers do."""
        await send_json(incoming.send, b'{"status":"ok"}', headers=(incoming.id,))

    async def _ready(self, incoming: Incoming) -> None:
        """Ready once there is a model to ask."""
        count = len(self._kernel.models())
        if not count:
            raise UpstreamUnavailable("No model is available yet.", retry_after=1)
        body = orjson.dumps({"status": "ready", "models": count})
        await send_json(incoming.send, body, headers=(incoming.id,))

    async def _models(self, incoming: Incoming) -> None:
        models = self._kernel.models()
        if not models:
            await self._kernel.settled(LIST_WAIT)
            models = self._kernel.models()
        entries = [self._entry(model) for model in models]
        body = orjson.dumps({"object": "list", "data": entries})
        await send_json(incoming.send, body, headers=(incoming.id,))

    async def _model(self, name: str, incoming: Incoming) -> None:
        entry = self._entry(self._kernel.find(name))
        await send_json(incoming.send, orjson.dumps(entry), headers=(incoming.id,))

    def _entry(self, deployment: Deployment) -> dict[str, Any]:
        """A model as OpenAI lists it, and what more we know, as vLLM names it."""
        return {
            "id": deployment.name,
            "object": "model",
            "created": deployment.created,
            "owned_by": deployment.owned_by,
            "max_model_len": deployment.max_context,
            INSTANCE_FIELD: self._instance,
        }
