"""The contract between the kernel and its plugins, and the contract's only home.

A plugin is a module, named by an entry point of group `h2o_relay`, whose functions carry
`@hookimpl`. It holds no state. It may leave out parameters that it does not need. Every hook but
the first is optional, but a server must be usable somehow: either `target` (the server speaks
OpenAI's shape, and the kernel does the rest) or `generate` and `stream`.

The kernel lets pluggy find plugins, check signatures and parse server strings; it then binds each
plugin's functions and calls them directly. A plugin translates, the kernel transports: use the
`client` you are given, raise `h2o_relay.errors` only, and never block the event loop.

Parameters have no defaults and none is keyword-only: pluggy drops the latter and treats the former
differently from version to version.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

import pluggy

from .http import HttpClient
from .types import (
    Call,
    Capabilities,
    Chunk,
    Completion,
    Getter,
    Identified,
    Load,
    Model,
    Progress,
    Reply,
    Request,
    Server,
    Target,
)

PROJECT = "h2o_relay"
PREFIX_GROUP = "h2o_relay.prefixes"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
STEADY = "h2o_relay_steady"
Find = TypeVar("Find", bound=Callable[[Server, Call], Target | None])


def steady(target: Find) -> Find:
    """Says of a `target` that it looks neither at a call's body nor at what that says, and sends it
    as it is. The kernel then asks it once where generations go, and not for each.
    """
    setattr(target, STEADY, True)
    return target


@hookspec
def parse_server_string(text: str) -> Server | None:
    """Read a server string that begins with one of the plugin's prefixes.

    Called when configuration is read, never per request. Pure: no network, no environment, no
    files. Return None for a string that is not yours; raise `BadServerString` for one that is
    yours and wrong.
    """


@hookspec
async def generate(server: Server, client: Any, request: Request) -> Completion:  # type: ignore[empty-body]
    """The whole answer.

    Cancelled when the caller leaves: release the upstream, do not swallow CancelledError.
    Default: POST to what `target` says; where closing the connection would not stop the server
    (`Capabilities.cancels`), stream and assemble.
    """


@hookspec
def stream(server: Server, client: Any, request: Request) -> AsyncIterator[Chunk]:  # type: ignore[empty-body]
    """The answer in pieces: an async generator.

    Raise before the first chunk for whatever the upstream said by status. Yield OpenAI-shaped
    events unchanged; build others with `Chunk.of`. Do not yield `[DONE]`; the kernel checks that
    each choice got a finish reason. Release the upstream in `finally` or `async with`: the kernel
    always closes the generator. Default: the events of what `target` says.
    """


@hookspec
async def list_models(server: Server, client: Any) -> list[Model]:  # type: ignore[empty-body]
    """The models that the server offers now; [] if it cannot say.

    Default: GET /models of what `target` says; a server that answers 404 there cannot say.
    """


@hookspec
def fix_text(server: Server, request: Request, text: str, final: bool) -> str:  # type: ignore[empty-body]
    """Repair one choice's text so far, such as a stop marker that leaked into it.

    Called on the accumulated text, never on a delta; `final` is true for the whole answer. Pure,
    and idempotent: fixing what is fixed changes nothing. Default: unchanged.
    """


@hookspec
def capabilities(server: Server) -> Capabilities:  # type: ignore[empty-body]
    """What the server can do, without asking it. Pure. Default: `Capabilities()`."""


@hookspec
def target(server: Server, call: Call) -> Target | None:
    """Where an OpenAI-shaped call goes: method, URL, headers, body. Pure.

    None means that the server does not offer `call.path`. No default: a plugin without it must
    have `generate` and `stream`. One that goes by the server and the path alone is marked
    `@steady` below `@hookimpl`: whole answers then cost it no call.
    """


@hookspec
def connect(server: Server, http: HttpClient) -> AbstractAsyncContextManager[Any]:  # type: ignore[empty-body]
    """Open what the other hooks are given as `client`.

    Entered once for each server, by one task that also leaves it, after the last request that
    uses it has ended. May start processes (`h2o_relay.engines`). `http` is the kernel's pooled
    HTTP client. A plugin with `target` yields an `Endpoint`; or, where headers change from request
    to request, an `HttpClient` of a class of its own that overrides `open` and shares `http`'s
    connections. Default: nothing is opened, and `client` is `http`.
    """


@hookspec
async def identify(server: Server, get: Getter) -> Identified | None:
    """Say whether the server behind a bare URL is yours.

    `server.url` is the URL as written; `get(path)` GETs below it. Only GETs, never a generation.
    Return the server to use instead, with a rank; None if it is not yours. Errors count as None.
    """


@hookspec
def forward(server: Server, client: Any, call: Call) -> AbstractAsyncContextManager[Reply]:  # type: ignore[empty-body]
    """Any other OpenAI path (embeddings, audio, images), where `target` is not enough.

    Fields that are not honoured are reported in `Reply.dropped`, or refused before anything is sent
    where the call is strict; `h2o_relay.translated` does either.

    Default: what `target` says, streamed both ways; leaving it closes the upstream.
    """


@hookspec
async def load(server: Server, client: Any) -> Load:  # type: ignore[empty-body]
    """How busy the server is, from a cheap GET. Default: unknown."""


@hookspec
async def count_tokens(server: Server, client: Any, request: Request) -> int | None:
    """Tokens of the request's prompt by the server's own tokenizer; None if it cannot say."""


@hookspec
async def set_loaded(server: Server, client: Any, model: str, on: bool) -> None:
    """Load a model into the server's memory, or unload it."""


@hookspec
async def fetch(server: Server, progress: Progress) -> Path | None:
    """Get what the server needs on this machine (model weights) if it is not here yet.

    Called by commands before the server is opened, so that a person sees the download. Returns
    where it lies; None if nothing is needed. May take minutes; must not block the loop.
    """


HOOKS = (
    "parse_server_string",
    "generate",
    "stream",
    "list_models",
    "fix_text",
    "capabilities",
    "target",
    "connect",
    "identify",
    "forward",
    "load",
    "count_tokens",
    "set_loaded",
    "fetch",
)
