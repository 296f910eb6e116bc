"""Asking an endpoint: whole answers by InvokeEndpoint, streams by
InvokeEndpointWithResponseStream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import orjson

from h2o_relay.errors import (
    InvalidJSON,
    InvalidRequest,
    UpstreamBadResponse,
    UpstreamIncomplete,
)
from h2o_relay.http import Response
from h2o_relay.openai_shape import PATHS, media_type
from h2o_relay.types import Call, Chunk, Completion, Reply, Request, Server

from .connection import STREAMED, WHOLE, Connection
from .event_stream import MEDIA_TYPE, Events, Frames
from .payloads import body, capabilities, custom_attributes, payload_of, without_names
from .shapes import Generated, OpenAI

CONTAINERS_TYPE = "x-amzn-sagemaker-content-type"


async def generate(server: Server, client: Connection, request: Request) -> Completion:
    """The whole answer. Raises RelayError."""
    payload = payload_of(server)
    shape = _shape(payload, request, client)
    limit = client.settings.answer_timeout
    asking = client.invoke(
        WHOLE, body(server, request, payload, stream=False),
        attributes=custom_attributes(server, request), first_byte=limit, total=limit,
    )  # fmt: skip
    async with asking as response:
        answer = await response.read(client.settings.max_event)
    return shape.whole(answer, server)


async def stream(
    server: Server, client: Connection, request: Request
) -> AsyncGenerator[Chunk, None]:
    """The answer in pieces as the container makes them. Raises RelayError."""
    payload = payload_of(server)
    shape = _shape(payload, request, client)
    asking = client.invoke(
        STREAMED, body(server, request, payload, stream=True),
        attributes=custom_attributes(server, request),
    )  # fmt: skip
    async with asking as response:
        if not media_type(response).startswith(MEDIA_TYPE):
            raise UpstreamBadResponse("SageMaker did not answer with an event stream")
        async with aclosing(_chunks(response, shape, client)) as chunks:
            async for chunk in chunks:
                yield chunk


@asynccontextmanager
async def forward(server: Server, client: Connection, call: Call) -> AsyncIterator[Reply]:
    """Embeddings and scores, of containers that speak OpenAI's shape and tell them by their fields
    (vLLM's /invocations does). Raises RelayError, also for what the container refuses.
    """
    if call.path not in capabilities(server).paths or call.path in PATHS.values():
        raise InvalidRequest(f"this server does not offer /v1{call.path}", code="unknown_url")
    pieces = call.body if isinstance(call.body, bytes) else [p async for p in call.body]
    params = call.params or _decoded(pieces if isinstance(pieces, bytes) else b"".join(pieces))
    sent = orjson.dumps(without_names(server, params))
    limit = client.settings.answer_timeout
    async with client.invoke(WHOLE, sent, first_byte=limit, total=limit) as response:
        yield Reply(status=response.status, headers=response.headers, chunks=aiter(response))


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        data = None
    if not isinstance(data, dict):
        raise InvalidJSON("the request's body is not a JSON object")
    return data


async def _chunks(
    response: Response, shape: Generated | OpenAI, client: Connection
) -> AsyncGenerator[Chunk, None]:
    frames = Frames(client.endpoint)
    events = Events(client.settings.max_event, client.endpoint)
    written = response.headers.get(CONTAINERS_TYPE, "").partition(";")[0].strip().lower()
    is_whole = written == "application/json"
    empty = True
    async for data in response:
        for part in frames.feed(data):
            for raw, event in events.feed(part):
                lone = empty and is_whole and not events.framed
                empty = False
                for chunk in shape.event(raw, event, lone):
                    yield chunk
    frames.end()
    for raw, event in events.end():
        lone = empty and is_whole and not events.framed
        empty = False
        for chunk in shape.event(raw, event, lone):
            yield chunk
    if empty:
        raise UpstreamIncomplete(f"SageMaker endpoint {client.endpoint} streamed nothing")
    for chunk in shape.end():
        yield chunk


def _shape(payload: str, request: Request, client: Connection) -> Generated | OpenAI:
    kind = OpenAI if payload == "openai" else Generated
    return kind(request, client.endpoint)
