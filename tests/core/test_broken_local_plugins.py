"""Broken plugins without a server: each fails the one check that is meant for it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any

import pytest

from h2o_relay.chunks import Chunk, Completion
from h2o_relay.errors import BadServerString
from h2o_relay.testing.suite import LocalSuite, does_not_apply
from h2o_relay.types import Capabilities, Model, Request, Server

from .plain import module_of
from .suite_runner import failures


def local_parse(text: str) -> Server | None:
    if text.split(":")[0] != "local":
        return None
    if text != "local":
        raise BadServerString("it takes nothing behind its name", shown="local:***")
    return Server(plugin="local", model="local", shown=text)


async def count(server: Server, client: Any, request: Request) -> AsyncIterator[Chunk]:
    about: dict[str, Any] = {"id": "x", "model": "local", "kind": request.kind}
    for number in range(request.params.get("max_tokens", 3)):
        yield Chunk.of(f"{number} ", **about)
        await asyncio.sleep(0.001)
    yield Chunk.of("", **about, finish_reason="stop")


async def count_at_once(server: Server, client: Any, request: Request) -> Completion:
    texts = [chunk.text async for chunk in count(server, client, request)]
    return Completion.of(["".join(texts)], id="x", model="local", kind=request.kind)


async def one_model() -> list[Model]:
    return [Model(id="local")]


KNOWN = frozenset({"model", "messages", "prompt", "stream", "max_tokens"})
LOCAL = {
    "parse_server_string": local_parse,
    "capabilities": lambda: Capabilities(fields=KNOWN),
    "list_models": one_model,
    "generate": count_at_once,
    "stream": count,
}


def made_local(**hooks: Callable[..., Any]) -> ModuleType:
    return module_of("local", **{**LOCAL, **hooks})


class SoundLocal(LocalSuite):
    plugin = "local"
    module = made_local()
    server_string = "local"
    endless = {"max_tokens": 1_000_000}
    documented = {"local": {"model": "local"}}
    malformed = ("local:", "local:x")

    test_a_key_is_never_shown = does_not_apply("there are no keys")
    test_a_key_is_not_in_the_error_of_a_malformed_string = does_not_apply("there are no keys")


async def computes_on_the_loop(server: Server, client: Any, request: Request) -> Completion:
    time.sleep(0.02)  # noqa: ASYNC251 - the very mistake
    return await count_at_once(server, client, request)


async def works_on(server: Server, client: Any, request: Request) -> Completion:
    work = asyncio.create_task(count_at_once(server, client, request))
    try:
        return await asyncio.shield(work)
    finally:
        if not work.done():
            ABANDONED.add(work)


ABANDONED: set[asyncio.Task[Completion]] = set()


async def looks_something_up(server: Server, client: Any, request: Request) -> Completion:
    socket.getaddrinfo("localhost", 80)
    return await count_at_once(server, client, request)


async def says_more(server: Server, client: Any, request: Request) -> Completion:
    completion = await count_at_once(server, client, request)
    return Completion.of([f"{completion.text}!"], id="x", model="local", kind=request.kind)


LOCALLY_BROKEN: list[tuple[str, Callable[..., Any], str]] = [
    ("generate", computes_on_the_loop, "event loop"),
    ("generate", works_on, "cancel generate"),
    ("generate", looks_something_up, "no network"),
    ("generate", says_more, "answers"),
    ("capabilities", lambda: Capabilities(), "parameters"),
]


async def test_the_sound_local_plugin_passes() -> None:
    assert await failures(SoundLocal) == {}


@pytest.mark.parametrize(("hook", "broken", "check"), LOCALLY_BROKEN)
async def test_a_local_one_fails_the_check_meant_for_it(
    hook: str, broken: Callable[..., Any], check: str
) -> None:
    suite = type("Broken", (SoundLocal,), {"module": made_local(**{hook: broken})})
    found = await failures(suite)
    for task in ABANDONED:
        task.cancel()
    await asyncio.gather(*ABANDONED, return_exceptions=True)
    ABANDONED.clear()
    assert list(found) == [check], found
