"""The API as one ASGI application: exact paths, raw answers, OpenAI's errors everywhere.

Routes are matched on the path as it was sent. `/v1/*` is reserved: what is unknown there is
OpenAI's 404, and so is everything else.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import unquote

import orjson

from h2o_relay.catalog import INSTANCE_FIELD
from h2o_relay.errors import (
    InvalidRequest,
    MethodNotAllowed,
    RelayError,
    UnknownURL,
    UpstreamUnavailable,
)
from h2o_relay.kernel import KernelAPI
from h2o_relay.settings import Settings
from h2o_relay.types import Deployment, Kind

from .auth import authenticate
from .body import ClientGone, Headers, Receive
from .generation import Generation
from .respond import Header, Send, send_error, send_json

MODEL_PATH = b"/v1/models/"
OPEN_PATHS = frozenset({b"/health", b"/readyz"})
LIST_WAIT = 2.0  # seconds that a list waits for the first server to say what it has
Handler = Callable[[Headers, Receive, Send, Header], Awaitable[None]]
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
        self._generation = Generation(kernel, settings.max_body)
        self._gets: dict[bytes, Handler] = {
            b"/health": self._health,
            b"/readyz": self._ready,
            b"/v1/models": self._models,
        }
        self._posts: dict[bytes, Handler] = {
            b"/v1/chat/completions": partial(self._generate, "chat"),
            b"/v1/completions": partial(self._generate, "text"),
        }

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._other(scope, receive, send)
        pairs = scope["headers"]
        headers = dict(pairs)
        request_id = (b"x-request-id", new_id(headers.get(b"x-request-id")))
        try:
            path = scope["raw_path"]
            if path not in OPEN_PATHS:
                authenticate(pairs, self._key)
            handler = self._route(scope["method"], path)
            await handler(headers, receive, send, request_id)
        except RelayError as error:
            await send_error(send, error, (request_id,))
        except ClientGone:
            log.debug("%s: the client left while sending its request", request_id[1].decode())
        except Exception:
            log.exception("%s: failed", request_id[1].decode())
            message = f"The relay failed. Its log has the reason under {request_id[1].decode()}."
            await send_error(send, RelayError(message), (request_id,))

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
        if get is None and path.startswith(MODEL_PATH):
            get = partial(self._model, unquote(path[len(MODEL_PATH) :].decode("latin-1")))
        if get is not None and method in ("GET", "HEAD"):
            return get
        allow = "GET, HEAD" if get is not None else "POST" if path in self._posts else None
        if allow is None:
            shown = path[:100].decode("ascii", "replace")
            raise UnknownURL(f"Unknown request URL: {method} {shown}.")
        raise MethodNotAllowed(f"{method} is not allowed here, but {allow} is.", allow=allow)

    async def _generate(
        self, kind: Kind, headers: Headers, receive: Receive, send: Send, request_id: Header
    ) -> None:
        await self._generation.answer(kind, headers, receive, send, request_id)

    async def _health(self, _: Headers, receive: Receive, send: Send, request_id: Header) -> None:
        """Alive, whatever the servers do."""
        await send_json(send, b'{"status":"ok"}', headers=(request_id,))

    async def _ready(self, _: Headers, receive: Receive, send: Send, request_id: Header) -> None:
        """Ready once there is a model to ask."""
        count = len(self._kernel.models())
        if not count:
            raise UpstreamUnavailable("No model is available yet.", retry_after=1)
        body = orjson.dumps({"status": "ready", "models": count})
        await send_json(send, body, headers=(request_id,))

    async def _models(self, _: Headers, receive: Receive, send: Send, request_id: Header) -> None:
        models = self._kernel.models()
        if not models:
            await self._kernel.settled(LIST_WAIT)
            models = self._kernel.models()
        entries = [self._entry(model) for model in models]
        body = orjson.dumps({"object": "list", "data": entries})
        await send_json(send, body, headers=(request_id,))

    async def _model(
        self, name: str, _: Headers, receive: Receive, send: Send, request_id: Header
    ) -> None:
        if not name:
            raise InvalidRequest("A model's name is missing.", param="model")
        entry = self._entry(self._kernel.find(name))
        await send_json(send, orjson.dumps(entry), headers=(request_id,))

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


def new_id(given: bytes | None) -> bytes:
    """The caller's own request id if it is a plain word, else a new one: 24 hex digits of which
    the first 12 are the time, so that they sort.
    """
    if given is not None and len(given) <= 128 and given.replace(b"-", b"").isalnum():
        return given
    return b"%012x%b" % (int(time.time() * 1000), os.urandom(6).hex().encode())
