"""Broken plugins: each makes one mistake, and fails the one check of the kit that is meant for it.

Every test of the suite is run for every plugin.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import orjson
import pytest

from h2o_relay import openai_shape
from h2o_relay.chunks import Chunk, Completion
from h2o_relay.errors import (
    PluginError,
    RelayError,
    UpstreamBadResponse,
    UpstreamError,
    from_response,
)
from h2o_relay.testing.suite import BackendSuite, LocalSuite
from h2o_relay.testing.suite.checks import CHECKS
from h2o_relay.types import Call, Capabilities, Request, Server, Target

from . import plain
from .plain import PlainSuite, parse_server_string, target
from .suite_runner import every_test_of, failures


async def generate(server: Server, client: Any, request: Request) -> Completion:
    """As the kernel does it where a plugin has none."""
    return await openai_shape.generate(target, server, client, request)


def shows_its_key(text: str) -> Server | None:
    server = parse_server_string(text)
    return server and replace(server, shown=text)


def asks_the_network_while_parsing(text: str) -> Server | None:
    with closing(socket.socket(socket.AF_INET)):
        return parse_server_string(text)


async def blocks_the_loop(server: Server, client: Any, request: Request) -> Completion:
    time.sleep(0.01)  # noqa: ASYNC251 - the very mistake
    return await generate(server, client, request)


async def swallows_cancellation(server: Server, client: Any, request: Request) -> Completion:
    """An answer may be almost there."""
    answer = asyncio.ensure_future(generate(server, client, request))
    try:
        await asyncio.wait([answer])
    except asyncio.CancelledError:
        await asyncio.wait([answer], timeout=0.8)
        answer.cancel()
        raise
    return answer.result()


async def does_not_release(server: Server, client: Any, request: Request) -> AsyncIterator[Chunk]:
    """A task reads ahead, and nobody ends it."""
    ahead: asyncio.Queue[Chunk | BaseException | None] = asyncio.Queue()

    async def read() -> None:
        try:
            async for chunk in openai_shape.stream(target, server, client, request):
                ahead.put_nowait(chunk)
            ahead.put_nowait(None)
        except RelayError as error:
            ahead.put_nowait(error)

    LEFT.add(asyncio.create_task(read()))
    while (item := await ahead.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item


LEFT: set[asyncio.Task[None]] = set()


async def drops_what_was_split(
    server: Server, client: Any, request: Request
) -> AsyncIterator[Chunk]:
    """It takes what one read gives for whole events; the rest of a read is forgotten."""
    sent = openai_shape.generation_target(target, server, request)
    async with client.request(
        sent.method, sent.url, headers=sent.headers, body=sent.body
    ) as response:
        if response.status >= 300:
            raise await openai_shape.refusal(response, server)
        if not openai_shape.media_type(response).startswith("text/event-stream"):
            raise await openai_shape.not_a_stream(response, server)
        async for data in response:
            for event in data.split(b"\n\n"):
                payload = event.removeprefix(b"data: ")
                if payload == b"[DONE]":
                    return
                try:
                    decoded = orjson.loads(payload)
                except orjson.JSONDecodeError:
                    continue
                yield Chunk(b"data: " + payload + b"\n\n", [decoded])


async def makes_up_an_end(server: Server, client: Any, request: Request) -> AsyncIterator[Chunk]:
    """A stream that stops must have been complete."""
    began = False
    try:
        async for chunk in openai_shape.stream(target, server, client, request):
            began = began or bool(chunk.text)
            yield chunk
            if chunk.finish_reason:
                return
    except UpstreamError as error:
        if not began or isinstance(error, UpstreamBadResponse):
            raise
    yield Chunk.of("", id="x", model="y", finish_reason="stop")


def knows_its_parameters(server: Server, call: Call) -> Target | None:
    """What it does not know is not sent, and nobody is told."""
    found = target(server, call)
    if found is None or not call.params:
        return found
    known = {name: call.params[name] for name in ("messages", "stream") if name in call.params}
    model = orjson.loads(call.body)["model"] if isinstance(call.body, bytes) else ""
    return replace(found, body=orjson.dumps({"model": model, **known}))


async def says_the_same_of_every_refusal(
    server: Server, client: Any, request: Request
) -> Completion:
    try:
        return await generate(server, client, request)
    except RelayError as error:
        if error.status == 502 and type(error) is not UpstreamBadResponse:
            raise
        if error.status in (503, 504, 502):
            raise
        raise UpstreamBadResponse("the server said no") from error


async def wants_refusals_whole(server: Server, client: Any, request: Request) -> Completion:
    """Where the body of a refusal breaks off, that is the error."""
    sent = openai_shape.generation_target(target, server, request)
    limit = client.settings.answer_timeout
    async with client.request(
        sent.method, sent.url, headers=sent.headers, body=sent.body, first_byte=limit, total=limit
    ) as response:
        body = await response.read(client.settings.max_event)
        if response.status >= 300:
            wait = openai_shape.seconds_to_wait(response.headers.get("retry-after"))
            raise from_response(response.status, body, retry_after=wait)
        return Completion(body, openai_shape.checked_answer(body, server))


def takes_off_one_stop(text: str) -> str:
    return text.removesuffix("</s>")


async def believes_a_200(server: Server, client: Any, request: Request) -> Completion:
    """Whatever came with a 200 was the answer."""
    try:
        return await generate(server, client, request)
    except UpstreamBadResponse as error:
        if "no choices" not in error.message:
            raise
        return Completion.of([""], id="x", model="y")


def tells_other_things_each_time(server: Server, call: Call) -> Target | None:
    found = target(server, call)
    return found and replace(found, headers={**found.headers, "x-number": str(next(NUMBERS))})


NUMBERS = itertools.count()


async def asks_again(server: Server, client: Any, request: Request) -> Completion:
    await generate(server, client, request)
    return await generate(server, client, request)


def promises_everything() -> Capabilities:
    return Capabilities(kinds=frozenset({"chat", "text", "video"}))  # type: ignore[arg-type]


BROKEN: list[tuple[str, Callable[..., Any], str]] = [
    ("parse_server_string", shows_its_key, "secrets"),
    ("parse_server_string", asks_the_network_while_parsing, "parsing offline"),
    ("generate", blocks_the_loop, "event loop"),
    ("generate", swallows_cancellation, "cancel generate"),
    ("stream", does_not_release, "cancel stream"),
    ("stream", drops_what_was_split, "splits"),
    ("stream", makes_up_an_end, "truncation"),
    ("target", knows_its_parameters, "parameters"),
    ("generate", says_the_same_of_every_refusal, "refusals"),
    ("generate", wants_refusals_whole, "refusals"),
    ("fix_text", takes_off_one_stop, "fix_text"),
    ("generate", believes_a_200, "errors in a 200"),
    ("target", tells_other_things_each_time, "target"),
    ("generate", asks_again, "answers"),
    ("capabilities", promises_everything, "declarations"),
]


async def test_the_sound_plugin_passes() -> None:
    assert len(every_test_of(PlainSuite)) > 70
    assert await failures(PlainSuite) == {}


@pytest.mark.parametrize(
    ("hook", "broken", "check"), BROKEN, ids=[broken.__name__ for _, broken, _ in BROKEN]
)
async def test_it_fails_the_check_meant_for_it(
    hook: str, broken: Callable[..., Any], check: str
) -> None:
    suite = type("Broken", (PlainSuite,), {"module": plain.module(**{hook: broken})})
    found = await failures(suite)
    for task in LEFT:
        task.cancel()
    await asyncio.gather(*LEFT, return_exceptions=True)
    LEFT.clear()
    assert list(found) == [check], found


def no_generator(server: Server, client: Any, request: Request) -> AsyncIterator[Chunk]:
    return openai_shape.stream(target, server, client, request)


def test_a_stream_that_is_no_async_generator_is_refused_before_the_suite() -> None:
    plugins = plain.plugins(stream=no_generator)
    with pytest.raises(PluginError, match=r"hook stream.* must be an async generator"):
        plugins.get("plain")
    (info,) = plugins.infos()
    assert info.error is not None


def test_every_test_of_the_suites_belongs_to_one_check() -> None:
    every = [test for tests in CHECKS.values() for test in tests]
    assert len(every) == len(set(every))
    suites = {name for suite in (BackendSuite, LocalSuite) for name in dir(suite)}
    assert {name for name in suites if name.startswith("test")} == set(every)
