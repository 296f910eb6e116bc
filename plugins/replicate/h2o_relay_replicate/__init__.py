"""Language models on Replicate, as `replicate:OWNER/NAME[:VERSION]`.

A request becomes a prediction: created, followed by its streaming URL or looked at until it is
done, and cancelled when its caller leaves. The README says what is honoured.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from h2o_relay.chunks import Chunk, Completion
from h2o_relay.errors import UpstreamTimeout
from h2o_relay.hookspecs import hookimpl
from h2o_relay.http import HttpClient
from h2o_relay.types import Capabilities, Model, Request, Server

from . import server_string
from .client import ReplicateClient
from .inputs import FIELDS, build, token_limit
from .prediction import Order, Patience, Prediction, pieces, running
from .schema import Schema
from .server_string import seconds

SHORT_WAIT = 2  # seconds that a creation is held back for the output of a model without a stream


@hookimpl
def parse_server_string(text: str) -> Server | None:
    return server_string.parse(text)


@hookimpl
def capabilities() -> Capabilities:
    return Capabilities(fields=FIELDS)


@hookimpl
@asynccontextmanager
async def connect(server: Server, http: HttpClient) -> AsyncIterator[ReplicateClient]:
    """The API with the token. Raises BadServerString for options that make no sense."""
    for option in server_string.SECONDS:
        seconds(server, option)
    yield ReplicateClient(server, http)


@hookimpl
async def list_models(server: Server, client: ReplicateClient) -> list[Model]:
    """The one model that the string names, once the API has described it."""
    entry, schema = await client.look_up()
    return [Model(id=server.model or "", kinds=schema.kinds, raw=entry)]


@hookimpl
async def stream(server: Server, client: ReplicateClient, request: Request) -> AsyncIterator[Chunk]:
    settings, api = client.settings, client.api
    patience = _patience(server, settings.first_byte_timeout, settings.idle_timeout)
    order, limit = await _order(client, server, request)
    async with running(api, order, patience) as prediction:
        about = _about(prediction, request)
        async with aclosing(pieces(api, prediction, patience, server.key)) as texts:
            async for text in texts:
                yield Chunk.of(text, **about)
        yield Chunk.of("", **about, finish_reason=_reason(prediction, limit))
        usage = prediction.usage()
        if usage and (request.params.get("stream_options") or {}).get("include_usage"):
            yield Chunk.of(None, **about, usage=usage)


@hookimpl
async def generate(server: Server, client: ReplicateClient, request: Request) -> Completion:
    whole = client.settings.answer_timeout
    try:
        async with asyncio.timeout(whole):
            return await _generate(server, client, request, _patience(server, whole, whole))
    except TimeoutError:
        raise UpstreamTimeout(f"the prediction took longer than {whole:g} s") from None


async def _generate(
    server: Server, client: ReplicateClient, request: Request, patience: Patience
) -> Completion:
    api = client.api
    order, limit = await _order(client, server, request)
    async with running(api, order, patience) as prediction:
        async with aclosing(pieces(api, prediction, patience, server.key)) as texts:
            text = "".join([piece async for piece in texts])
        return Completion.of(
            [text],
            **_about(prediction, request),
            finish_reasons=[_reason(prediction, limit)],
            usage=prediction.usage(),
        )


def _patience(server: Server, first: float, idle: float) -> Patience:
    return Patience(
        first=first,
        idle=idle,
        poll=seconds(server, "poll_interval"),
        cancel=seconds(server, "cancel_timeout"),
    )


async def _order(
    client: ReplicateClient, server: Server, request: Request
) -> tuple[Order, int | None]:
    """What to ask for, and the answer's limit in tokens if one is set. Fields that the model has
    no input for are reported."""
    schema = await client.schema()
    inputs, ignored = build(request, schema)
    request.drop(*ignored)
    name, _, version = (server.model or "").partition(":")
    return _route(name, version, inputs, schema), token_limit(inputs)


def _route(name: str, version: str, inputs: dict[str, Any], schema: Schema) -> Order:
    """Official models are run by their name, all others by their version; which a model is need
    not be said, but the server answers 404 to the name of one that is not official."""
    wait = None if schema.streams else SHORT_WAIT
    rest = {"input": inputs, "stream": True}
    latest = version or schema.version
    by_version = ("/predictions", {"version": latest, **rest}) if latest else None
    if by_version and (version or schema.official is False):
        return Order(path=by_version[0], body=by_version[1], wait=wait)
    return Order(path=f"/models/{name}/predictions", body=rest, instead=by_version, wait=wait)


def _about(prediction: Prediction, request: Request) -> dict[str, Any]:
    return {"id": prediction.id, "model": request.deployment.model, "kind": request.kind}


def _reason(prediction: Prediction, limit: int | None) -> str:
    """Replicate does not say why an answer ended: one of as many tokens as were allowed was cut."""
    count = prediction.count("output_token_count")
    return "length" if limit is not None and count is not None and count >= limit else "stop"
