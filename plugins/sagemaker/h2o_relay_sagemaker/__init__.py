"""Amazon SageMaker endpoints, as `sagemaker` and `sagemaker_chat`.

Protocol: botocore's service model `sagemaker-runtime` 2017-05-13, operations InvokeEndpoint and
InvokeEndpointWithResponseStream. botocore finds credentials, signs and reads the event stream; the
relay's HTTP client carries the bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

from h2o_relay.hookspecs import hookimpl
from h2o_relay.types import Call, Capabilities, Chunk, Completion, Model, Reply, Request, Server

from . import answers, connection, payloads, server_string


@hookimpl
def parse_server_string(text: str) -> Server | None:
    return server_string.parse(text)


@hookimpl
def capabilities(server: Server) -> Capabilities:
    return payloads.capabilities(server)


@hookimpl
def connect(server: Server, http: Any) -> AbstractAsyncContextManager[Any]:
    return connection.opened(server, http)


@hookimpl
async def list_models(server: Server, client: Any) -> list[Model]:
    """The endpoint itself; the runtime API lists nothing."""
    about = {
        "endpoint": client.endpoint,
        "region": client.account.region,
        "url": client.account.url,
        "payload": payloads.payload_of(server),
    }
    return [Model(id=client.endpoint, raw=about)]


@hookimpl
async def generate(server: Server, client: Any, request: Request) -> Completion:
    return await answers.generate(server, client, request)


@hookimpl
async def stream(server: Server, client: Any, request: Request) -> AsyncIterator[Chunk]:
    async with aclosing(answers.stream(server, client, request)) as chunks:
        async for chunk in chunks:
            yield chunk


@hookimpl
def forward(server: Server, client: Any, call: Call) -> AbstractAsyncContextManager[Reply]:
    return answers.forward(server, client, call)
