"""llama.cpp as h2o relay's embedded engine: a model file on this machine, served by a process of
its own.

The server strings are in `source`. The engine is llama.cpp's own HTTP server, as the `xllamacpp`
wheel brings it, so requests go to it as they came, and answers come back so, but for what
`generation` mends; see the README of that server in llama.cpp's repository for the request fields
that it honours.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing
from pathlib import Path
from typing import cast

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
    Reply,
    Request,
    Server,
    Target,
)

from . import counting, download, engine, generation, paths, remote, source


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
        paths=paths.PATHS, cancels=frozenset({"stream"}), continues_text=True, tokenizer=True,
        tells_tokens={"timings_per_token": True},
    )  # fmt: skip


@hookimpl
async def stream(server: Server, client: HttpClient, request: Request) -> AsyncIterator[Chunk]:
    answering = generation.stream(server, client, request)
    async with aclosing(cast("AsyncGenerator[Chunk, None]", answering)) as chunks:
        async for chunk in chunks:
            yield chunk


@hookimpl
async def count_tokens(server: Server, client: HttpClient, request: Request) -> int | None:
    """Tokens of a text, with the special tokens that the model begins with; or of messages, as the
    server's own template renders them. None for a list of prompts, and where it cannot say.
    """
    return await counting.count(client, request)


@hookimpl
def target(server: Server, call: Call) -> Target | None:
    return paths.target(server, call)


@hookimpl
def forward(server: Server, client: HttpClient, call: Call) -> AbstractAsyncContextManager[Reply]:
    return paths.forward(server, client, call)


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
