"""Hugging Face Text Generation Inference (TGI), as `tgi`.

Conversations go to its Messages API, whose shape is OpenAI's; text completions, and conversations
that the kernel rendered, to its own `/generate` and `/generate_stream`. Formats are those of the
server's OpenAPI document (`docs/openapi.json` of huggingface/text-generation-inference, 2.4) and,
for what that leaves out, of its router.
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
    Target,
)

from . import info, messages, native, paths, reading, server_string, tokens
from .fields import FIELDS
from .stops import cut_at_stop

CAPABILITIES = Capabilities(fields=FIELDS, paths=paths.PATHS, tokenizer=True)


@hookimpl
def parse_server_string(text: str) -> Server | None:
    return server_string.parse(text)


@hookimpl
def capabilities(server: Server) -> Capabilities:
    return CAPABILITIES


@hookimpl
def target(server: Server, call: Call) -> Target | None:
    return messages.target(server, call)


@hookimpl
async def generate(server: Server, client: Any, request: Request) -> Completion:
    if is_native(request):
        return await native.generate(server, client, request)
    return await messages.generate(server, client, request)


@hookimpl
async def stream(server: Server, client: Any, request: Request) -> AsyncIterator[Chunk]:
    ask = native.stream if is_native(request) else messages.stream
    async with aclosing(ask(server, client, request)) as chunks:
        async for chunk in chunks:
            yield chunk


@hookimpl
async def list_models(server: Server, client: Any) -> list[Model]:
    return await info.list_models(server, client)


@hookimpl
async def identify(server: Server, get: Getter) -> Identified | None:
    return await info.identify(server, get)


@hookimpl
def forward(server: Server, client: Any, call: Call) -> AbstractAsyncContextManager[Reply]:
    return paths.forward(server, client, call)


@hookimpl
async def load(server: Server, client: Any) -> Load:
    return await reading.load(server, client)


@hookimpl
async def count_tokens(server: Server, client: Any, request: Request) -> int | None:
    return await tokens.count(server, client, request)


@hookimpl
def fix_text(server: Server, request: Request, text: str, final: bool) -> str:
    """Without the stop sequence that TGI leaves at the end of an answer."""
    return cut_at_stop(request, text)


def is_native(request: Request) -> bool:
    """Whether there is a text to complete; else there are messages."""
    return request.kind == "text" or request.prompt is not None
