"""Ollama, by its native API: `/api/chat`, `/api/generate`, `/api/embed` and the lists of models.

The hooks only; each job has its module. Formats are those of Ollama's docs/openapi.yaml, its
docs/api.md and, where these are silent, its api/types.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

from h2o_relay.hookspecs import hookimpl
from h2o_relay.types import (
    Call,
    Capabilities,
    Chunk,
    Completion,
    Getter,
    Identified,
    Load,
    Model,
    Reply,
    Request,
    Server,
)

from . import address, exchange, forwarding, models
from .body import FIELDS

CAPABILITIES = Capabilities(
    fields=FIELDS,
    paths=frozenset({"/chat/completions", "/completions", "/models"}) | forwarding.PATHS,
)


@hookimpl
def parse_server_string(text: str) -> Server | None:
    return address.parse(text)


@hookimpl
def capabilities() -> Capabilities:
    return CAPABILITIES


@hookimpl
async def identify(server: Server, get: Getter) -> Identified | None:
    return await models.identify(server, get)


@hookimpl
async def generate(server: Server, client: Any, request: Request) -> Completion:
    return await exchange.generate(server, client, request)


@hookimpl
async def stream(server: Server, client: Any, request: Request) -> AsyncIterator[Chunk]:
    async with aclosing(exchange.stream(server, client, request)) as chunks:
        async for chunk in chunks:
            yield chunk


@hookimpl
async def list_models(server: Server, client: Any) -> list[Model]:
    return await models.list_models(server, client)


@hookimpl
def forward(server: Server, client: Any, call: Call) -> AbstractAsyncContextManager[Reply]:
    return forwarding.forward(server, client, call)


@hookimpl
async def load(server: Server, client: Any) -> Load:
    return await models.load(server, client)


@hookimpl
async def set_loaded(server: Server, client: Any, model: str, on: bool) -> None:
    await models.set_loaded(server, client, model, on)
