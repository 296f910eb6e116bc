"""A backend without a network, for tests of frontends: it says what it was told, word by word.

    async with Kernel(settings, servers=["echo"], plugins=Plugins.of(echo=echo)) as kernel:
        ...

`echo` serves the model `echo`, `echo:NAME` the model NAME. There, options follow a question mark:
`echo:NAME?delay=0.05` waits before each word, in seconds. The prompt, or the last message, is
repeated, unless it is one of these:

- `!refuse STATUS`   the server refuses the request with this status
- `!break N`         the server reports an error after N words
- `!cut N`           the server goes away after N words
- `!slow SECONDS`    waits before each word

What happened is in `journal`, which is the one thing here that outlives a request.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson

from ..errors import BadServerString, UpstreamDisconnected, from_error_object, from_response
from ..hookspecs import hookimpl
from ..types import Capabilities, Chunk, Completion, Model, Request, Server

EXAMPLE = "echo:my-model?delay=0.05"
ID = "echo-1"
REFUSAL = b'{"error": {"message": "the echo refuses, as it was told to"}}'
FAILURE = "the echo broke off, as it was told to"


@dataclass
class Journal:
    """What the backend was asked, and how that ended."""

    requests: list[Request] = field(default_factory=list)
    finished: int = 0
    """Answers that were read to their end."""
    cancelled: int = 0
    """Answers whose reader left, or was cancelled, before their end."""

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]


journal = Journal()


@hookimpl
def parse_server_string(text: str) -> Server | None:
    name, _, query = text.partition("?")
    prefix, _, model = name.partition(":")
    if prefix != "echo":
        return None
    options: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(options) - {"delay"})
    if unknown:
        raise BadServerString(f"unknown option {unknown[0]}", shown=text, example=EXAMPLE)
    try:
        delay = float(options.get("delay", 0))
    except ValueError:
        raise BadServerString("delay is not a number", shown=text, example=EXAMPLE) from None
    return Server(plugin="echo", model=model or "echo", options={"delay": delay}, shown=text)


@hookimpl
def capabilities() -> Capabilities:
    return Capabilities()


@hookimpl
async def list_models(server: Server) -> list[Model]:
    return [Model(id=server.model or "echo")]


@hookimpl
async def count_tokens(request: Request) -> int | None:
    return len(_words(_said(request)))


@hookimpl
async def generate(server: Server, request: Request) -> Completion:
    words: list[str] = []
    async with aclosing(_speak(server, request)) as spoken:
        async for word in spoken:
            words.append(word)  # noqa: PERF401
    name = request.deployment.model
    usage = _usage(request, len(words))
    return Completion.of(["".join(words)], id=ID, model=name, kind=request.kind, usage=usage)


@hookimpl
async def stream(server: Server, request: Request) -> AsyncIterator[Chunk]:
    about: dict[str, Any] = {"id": ID, "model": request.deployment.model, "kind": request.kind}
    count = 0
    async with aclosing(_speak(server, request)) as spoken:
        async for word in spoken:
            count += 1
            yield Chunk.of(word, **about)
    yield Chunk.of("", **about, finish_reason="stop")
    if (request.params.get("stream_options") or {}).get("include_usage"):
        yield Chunk.of(None, **about, usage=_usage(request, count))


async def _speak(server: Server, request: Request) -> AsyncGenerator[str]:
    """The words of the answer, each with the space that follows it; keeps the journal."""
    journal.requests.append(request)
    words = _words(_said(request))
    order, value = [word.strip() for word in [*words, "", ""][:2]]
    if order == "!refuse":
        journal.finished += 1
        raise from_response(int(value), REFUSAL)
    delay = float(value) if order == "!slow" else float(server.options["delay"])
    failing = order in ("!break", "!cut")
    ended = False
    try:
        for word in words[: int(value)] if failing else words:
            await asyncio.sleep(delay)
            yield word
        ended = True
    finally:
        journal.finished += ended
        journal.cancelled += not ended
    if failing:
        raise _failure(order)


def _failure(order: str) -> Exception:
    if order == "!cut":
        return UpstreamDisconnected("the echo went away, as it was told to")
    return from_error_object({"message": FAILURE})


def _said(request: Request) -> str:
    """The prompt, or the text of the last message."""
    prompt = request.params.get("prompt", request.prompt)
    if prompt is not None:
        return prompt if isinstance(prompt, str) else orjson.dumps(prompt).decode()
    content = request.params["messages"][-1].get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+\s*", text)


def _usage(request: Request, count: int) -> dict[str, int]:
    prompt = len(_words(_said(request)))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": count,
        "total_tokens": prompt + count,
    }
