"""Another h2oGPT, h2o relay page or Gradio chat app as a server, as `gradio` and `gradio_remote`.

Spoken over the kernel's HTTP client; `calls` has the protocols, `h2ogpt` and `chat` the two APIs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

from h2o_relay.errors import RelayError, UpstreamIncomplete
from h2o_relay.hookspecs import hookimpl
from h2o_relay.http import HttpClient
from h2o_relay.types import (
    Capabilities,
    Chunk,
    Completion,
    Getter,
    Identified,
    Model,
    Request,
    Server,
)

from . import chat, h2ogpt, parse
from .answer import no_chat, updates
from .app import MODEL_NAMES, read_config
from .calls import result
from .session import GradioClient, refreshed
from .update import Growth

RANK = 50
LOGIN_PAGE = b"gradio_config"


@hookimpl
def parse_server_string(text: str) -> Server | None:
    return parse.parse(text)


@hookimpl
def capabilities(server: Server) -> Capabilities:
    """Those of h2oGPT, unless the server is known to be a plain chat."""
    if server.options.get("api") == "chat":
        return Capabilities(kinds=frozenset({"chat"}), fields=chat.FIELDS)
    return Capabilities(fields=h2ogpt.FIELDS)


@hookimpl
@asynccontextmanager
async def connect(server: Server, http: HttpClient) -> AsyncIterator[GradioClient]:
    """A client of the link's own, which keeps what is learned of the app."""
    yield GradioClient(http)


@hookimpl
async def identify(server: Server, get: Getter) -> Identified | None:
    """Gradio's /config with an API that we can use; where a login is asked for first, its page."""
    try:
        status, _, body = await get("/config")
    except RelayError:  # over the size that a look may have: h2oGPT's can be
        status, _, body = await get("/gradio_api/app_id")
        return _found(server, None) if status == 200 and b'"app_id"' in body else None
    if status == 401:
        _, _, page = await get("/")
        return _found(server, None) if LOGIN_PAGE in page else None
    if status != 200:
        return None
    kind = read_config(body).kind
    return _found(server, kind) if kind else None


def _found(server: Server, api: str | None) -> Identified:
    """The app, which is above /v1: that is where the GETs went."""
    above = (server.url or "").rstrip("/").removesuffix("/v1")
    return Identified(server=parse.ours(replace(server, url=above), api), rank=RANK)


@hookimpl
async def list_models(server: Server, client: GradioClient) -> list[Model]:
    opened = await refreshed(server, client)
    app = opened.app
    names = app.api(MODEL_NAMES)
    if names is not None:
        return h2ogpt.models(server, (await result(opened, names, names.data()))[0])
    if app.kind == "h2ogpt":
        return []
    if app.chat_api is None:
        raise no_chat()
    return chat.models(app, app.chat_api)


@hookimpl
async def stream(server: Server, client: GradioClient, request: Request) -> AsyncIterator[Chunk]:
    about = _about(request)
    growth = Growth()
    async with aclosing(updates(server, client, request)) as told:
        async for update in told:
            text = growth.feed(update.text, update.last)
            if text:
                yield Chunk.of(text, **about)
            if update.last:
                yield Chunk.of("", **about, finish_reason=update.finish)
                if update.usage and _wants_usage(request):
                    yield Chunk.of(None, **about, usage=update.usage)


@hookimpl
async def generate(server: Server, client: GradioClient, request: Request) -> Completion:
    """The last telling of the answer, whatever the ones before it said."""
    last = None
    limit = client.settings.answer_timeout
    async with aclosing(updates(server, client, request, limit)) as told:
        async for update in told:
            last = update
    if last is None or not last.last:
        raise UpstreamIncomplete("the Gradio server ended its answer without finishing it")
    return Completion.of(
        [last.text], **_about(request), finish_reasons=[last.finish], usage=last.usage
    )


def _about(request: Request) -> dict[str, Any]:
    return {
        "id": f"gradio-{uuid4().hex}",
        "model": request.deployment.model,
        "kind": request.kind,
    }


def _wants_usage(request: Request) -> bool:
    return bool((request.params.get("stream_options") or {}).get("include_usage"))
