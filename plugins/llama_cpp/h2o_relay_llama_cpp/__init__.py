"""llama.cpp as h2o relay's embedded engine: a model file on this machine, served by a process of
its own.

The server strings are in `source`. The engine is llama.cpp's own HTTP server, as the `xllamacpp`
wheel brings it, so requests go to it as they came, but for demanded tool calls (`tools`); see the
README of that server in llama.cpp's repository for the request fields that it honours.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing
from pathlib import Path
from typing import cast

import orjson

from h2o_relay import openai_shape
from h2o_relay.hookspecs import hookimpl
from h2o_relay.http import HttpClient
from h2o_relay.types import (
    Call,
    Capabilities,
    Chunk,
    Endpoint,
    Getter,
    Identified,
    Progress,
    Request,
    Server,
    Target,
)

from . import download, engine, remote, source, tools

TOKENS_LIMIT = 64 * 2**20  # bytes of a /tokenize answer
PATHS = frozenset(
    {
        "/chat/completions", "/chat/completions/input_tokens", "/completions", "/embeddings",
        "/models", "/responses", "/responses/input_tokens",
    }
)  # fmt: skip


@hookimpl
def parse_server_string(text: str) -> Server | None:
    return source.parse(text)


@hookimpl
def capabilities(server: Server) -> Capabilities:
    """A dropped request that is not streamed keeps its slot busy to its end.

    A last message of role `assistant` is continued, character for character whatever the chat
    template makes of white space, and a stream holds only what was added to it.
    """
    return Capabilities(
        paths=PATHS, cancels=frozenset({"stream"}), continues_text=True, tokenizer=True,
        tells_tokens={"timings_per_token": True},
    )  # fmt: skip


@hookimpl
async def stream(server: Server, client: HttpClient, request: Request) -> AsyncIterator[Chunk]:
    forced = tools.forced(request)
    asked = request if forced is None else forced.request
    streaming = openai_shape.stream(target, server, client, asked)
    async with aclosing(cast("AsyncGenerator[Chunk, None]", streaming)) as chunks:
        async for chunk in chunks:
            yield chunk if forced is None else forced.chunk(chunk)


@hookimpl
async def count_tokens(server: Server, client: HttpClient, request: Request) -> int | None:
    """Tokens of a rendered prompt or a text, with the special tokens that the model begins with.

    None for messages: their template is the engine's own.
    """
    prompt = request.prompt if request.prompt is not None else request.params.get("prompt")
    if not isinstance(prompt, str):
        return None
    body = orjson.dumps({"content": prompt, "add_special": True, "parse_special": True})
    seconds = client.settings.request_timeout
    exchange = client.request(
        "POST", "/tokenize", body=body, headers={"content-type": "application/json"},
        first_byte=seconds, total=seconds,
    )  # fmt: skip
    async with exchange as response:
        if response.status != 200:
            return None
        return len(orjson.loads(await response.read(TOKENS_LIMIT))["tokens"])


@hookimpl
def target(server: Server, call: Call) -> Target | None:
    if call.path not in PATHS:
        return None
    query = f"?{call.query}" if call.query else ""
    return Target(
        method=call.method, url=f"/v1{call.path}{query}", headers=call.headers, body=call.body
    )


@hookimpl
def connect(server: Server) -> AbstractAsyncContextManager[Endpoint]:
    return engine.serve(server) if server.url is None else remote.endpoint(server)


@hookimpl
async def identify(server: Server, get: Getter) -> Identified | None:
    """A llama.cpp server that runs already, behind a bare URL."""
    return await remote.identify(server, get)


@hookimpl
async def fetch(server: Server, progress: Progress) -> Path | None:
    return None if server.url is not None else await download.fetch(server, progress)
