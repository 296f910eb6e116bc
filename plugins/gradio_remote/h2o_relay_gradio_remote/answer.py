"""A request's answer, whichever of the two APIs the app has."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from h2o_relay.errors import UpstreamBadResponse
from h2o_relay.types import Request, Server

from . import chat, h2ogpt
from .app import NOCHAT, NOCHAT_PLAIN
from .calls import call, new_session_hash, post
from .session import GradioClient, Session, session
from .update import Update


async def updates(
    server: Server, client: GradioClient, request: Request, total: float | None = None
) -> AsyncGenerator[Update]:
    """The answer as it grows; without a `last` update it was cut. Raises RelayError.

    `total` bounds the whole answer in seconds. Leaving early cancels it.
    """
    opened = await session(server, client)
    kind = opened.app.kind
    if kind is None:
        raise no_chat()
    tell = _h2ogpt if kind == "h2ogpt" else _chat
    async with aclosing(tell(opened, request, total)) as told:
        async for update in told:
            yield update


async def _h2ogpt(opened: Session, request: Request, total: float | None) -> AsyncGenerator[Update]:
    app = opened.app
    names = (NOCHAT, NOCHAT_PLAIN) if app.streams else (NOCHAT_PLAIN, NOCHAT)
    api = app.api(names[0]) or app.api(names[1])
    assert api is not None  # `kind` says so
    data = api.data(h2ogpt.order(opened.server, request))
    limit = h2ogpt.token_limit(request.params)
    async with aclosing(call(opened, api, data, total=total)) as outputs:
        async for output in outputs:
            yield h2ogpt.update(opened.server, output.values[0], output.last, limit)


async def _chat(opened: Session, request: Request, total: float | None) -> AsyncGenerator[Update]:
    app, api = opened.app, opened.app.chat_api
    assert api is not None
    order = chat.order(app, api, request)
    if opened.server.options.get("api") != "chat":  # it was taken for h2oGPT until now
        request.drop(*(n for n in request.params if n in h2ogpt.FIELDS and n not in chat.FIELDS))
    session_hash = ""
    if order.seed is not None:
        session_hash = new_session_hash()
        body = {"data": order.history, "fn_index": order.seed.id, "session_hash": session_hash}
        seconds = opened.client.settings.request_timeout
        await post(opened, order.seed.run_path, body, seconds)
    outputs = call(opened, api, order.data, session_hash=session_hash, total=total)
    async with aclosing(outputs):
        async for output in outputs:
            yield chat.update(output.values[0], output.last)


def no_chat() -> UpstreamBadResponse:
    """The error for a Gradio app that is no chat."""
    return UpstreamBadResponse(
        "this Gradio app has no chat API: neither /submit_nochat_api nor /chat"
    )
