"""The conformance kit itself: a sound plugin passes, each kind of broken one is found out."""

import asyncio
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest

from h2o_relay import openai_shape
from h2o_relay.chunks import Chunk
from h2o_relay.errors import BadServerString, PluginError, RelayError
from h2o_relay.hookspecs import steady
from h2o_relay.testing import deviates, does_not_apply
from h2o_relay.types import Call, Capabilities, Completion, Model, Request, Server, Target

from . import plain
from .plain import PlainSuite, parse_server_string, target

PARROT = Path(__file__).parents[2] / "examples" / "h2o-relay-parrot"


class TestPlain(PlainSuite):
    """The sound plugin: everything passes."""


class TestPlainAssembled(TestPlain):
    """The same where only a stream can be cancelled, with the text API."""

    module = plain.module(
        capabilities=lambda: Capabilities(kinds=frozenset({"text"}), cancels=frozenset({"stream"}))
    )

    async def test_it_is_asked_for_text(self) -> None:
        async with self.relay(self.reply()) as relay:
            await relay.stream()
            assert relay.asked[0].path == "/v1/completions"


class TestPlainConnected(TestPlain):
    """The same behind a stand-in for a `connect` that can't be used in tests."""

    module = plain.module(
        target=lambda call: Target(method=call.method, url=call.path, body=call.body),
        connect=lambda server: pytest.fail("the plugin's own connect was used"),
    )
    connects = "it would start an engine"


async def failing(name: str, module: ModuleType, **arguments: Any) -> str:
    """How a test of the suite fails with this plugin; it must."""
    suite = type("Broken", (TestPlain,), {"module": module})()
    try:
        result = getattr(suite, name)(**arguments)
        if result is not None:
            await result
    except (Exception, pytest.fail.Exception) as error:
        return f"{type(error).__name__}: {error}"
    return pytest.fail(f"{name} does not notice")


def claims_everything(text: str) -> Server | None:
    return Server(plugin="plain", url="http://host/v1", shown="plain")


def opens_a_socket(text: str) -> Server | None:
    with closing(socket.socket(socket.AF_INET)):
        return parse_server_string(text)


def looks_up_and_forgives(text: str) -> Server | None:
    with suppress(AssertionError):
        socket.getaddrinfo("localhost", 80)
    return parse_server_string(text)


def shows_the_key(text: str) -> Server | None:
    server = parse_server_string(text)
    return server and replace(server, shown=text)


def is_never_the_same(text: str) -> Server | None:
    server = parse_server_string(text)
    return server and replace(server, options={"number": next(NUMBERS)})


def raises_value_error(text: str) -> Server | None:
    try:
        return parse_server_string(text)
    except BadServerString as error:
        raise ValueError("hm") from error


NUMBERS = itertools.count()
PARSING = {
    claims_everything: "test_foreign_strings_are_left_alone",
    opens_a_socket: "test_parsing_opens_no_socket",
    looks_up_and_forgives: "test_parsing_opens_no_socket",
    shows_the_key: "test_a_key_is_never_shown",
    is_never_the_same: "test_a_string_is_read_the_same_every_time",
    raises_value_error: "test_malformed_strings_are_refused",
}


@pytest.mark.parametrize("hook", PARSING, ids=lambda hook: hook.__name__)
async def test_bad_parsing_is_found(hook: Callable[[str], Server | None]) -> None:
    await failing(PARSING[hook], plain.module(parse_server_string=hook))


async def test_wrong_documentation_is_found() -> None:
    other = plain.module(parse_server_string=lambda text: parse_server_string(f"{text}0"))
    assert "http://host0/v1" in await failing("test_documented_strings_are_read", other)


def fix_once(server: Server, request: Request, text: str, final: bool) -> str:
    return text.removesuffix("</s>")


def fix_with_a_number(text: str) -> str:
    return f"{text}{next(NUMBERS)}"


def fix_and_change(request: Request, text: str) -> str:
    request.params["stop"] = text  # type: ignore[index]
    return text


def count_calls(server: Server, call: Call) -> Target | None:
    return Target(method="POST", url=f"{server.url}{call.path}?{next(NUMBERS)}", body=call.body)


def only_known_fields(server: Server, call: Call) -> Target | None:
    params = {name: call.params[name] for name in ("model", "messages", "stream") if call.params}
    found = target(server, call)
    return found and replace(found, body=orjson.dumps(params) if call.params else b"")


@steady
def goes_by_the_user(server: Server, call: Call) -> Target | None:
    found = target(server, call)
    return found and replace(found, url=f"{found.url}?{(call.params or {}).get('user')}")


@steady
def writes_anew(server: Server, call: Call) -> Target | None:
    found = target(server, call)
    return found and replace(found, body=b"{}")


DECLARING = [
    ("fix_text", fix_once, "test_fix_text_is_idempotent"),
    ("fix_text", fix_with_a_number, "test_fix_text_is_pure"),
    ("fix_text", fix_and_change, "test_fix_text_is_pure"),
    ("capabilities", lambda: {"kinds": ["chat"]}, "test_capabilities_are_declared"),
    ("capabilities", lambda: Capabilities(kinds=frozenset()), "test_capabilities_are_declared"),
    ("target", count_calls, "test_target_is_pure"),
    ("target", goes_by_the_user, "test_a_steady_target_sends_bodies_as_they_are"),
    ("target", writes_anew, "test_a_steady_target_sends_bodies_as_they_are"),
    ("target", only_known_fields, "test_unknown_params_reach_the_wire_or_are_reported"),
]


@pytest.mark.parametrize(("name", "hook", "test"), DECLARING)
async def test_bad_declarations_are_found(name: str, hook: Callable[..., Any], test: str) -> None:
    await failing(test, plain.module(**{name: hook}))


BOUND = plain.plugin()


async def forgives_everything(
    server: Server, client: Any, request: Request
) -> AsyncIterator[Chunk]:
    try:
        async for chunk in openai_shape.stream(BOUND.target, server, client, request):
            yield chunk
    except RelayError:
        yield Chunk.of("", id="x", model="y", finish_reason="stop")


async def makes_up_an_end(server: Server, client: Any, request: Request) -> AsyncIterator[Chunk]:
    async for chunk in openai_shape.stream(BOUND.target, server, client, request):
        yield chunk
    yield Chunk.of("", id="x", model="y", finish_reason="stop")


async def takes_a_read_for_an_event(
    server: Server, client: Any, request: Request
) -> AsyncIterator[Chunk]:
    call = Call(method="POST", path="/chat/completions", body=orjson.dumps(dict(request.params)))
    sent = target(server, call)
    assert sent is not None
    async with client.request("POST", sent.url, body=sent.body) as response:
        async for data in response:
            whole = data.removesuffix(b"data: [DONE]\n\n")
            if whole:
                yield Chunk(whole)


async def blocks_the_loop(server: Server, client: Any, request: Request) -> AsyncIterator[Chunk]:
    time.sleep(0.02)  # noqa: ASYNC251 - the very mistake
    async for chunk in openai_shape.stream(BOUND.target, server, client, request):
        yield chunk


async def waits_for_the_end(server: Server, client: Any, request: Request) -> AsyncIterator[Chunk]:
    chunks = [chunk async for chunk in openai_shape.stream(BOUND.target, server, client, request)]
    for chunk in chunks:
        yield chunk


async def says_it_twice(server: Server, client: Any, request: Request) -> AsyncIterator[Chunk]:
    async for chunk in openai_shape.stream(BOUND.target, server, client, request):
        yield chunk
        if chunk.text:
            yield chunk


async def encodes_anew(server: Server, client: Any, request: Request) -> AsyncIterator[Chunk]:
    async for chunk in openai_shape.stream(BOUND.target, server, client, request):
        for event in chunk.events():
            changed = {**event, "system_fingerprint": None}
            yield Chunk(b"data: " + orjson.dumps(changed) + b"\n\n")


STREAMING = [
    (forgives_everything, "test_a_truncated_stream_is_an_error", {}),
    (forgives_everything, "test_a_reset_stream_is_an_error", {}),
    (forgives_everything, "test_a_status_becomes_its_error", {"status": 429, "how": "stream"}),
    (makes_up_an_end, "test_an_answer_without_a_finish_reason_is_incomplete", {}),
    (takes_a_read_for_an_event, "test_segments_may_be_cut_anywhere", {}),
    (blocks_the_loop, "test_many_streams_leave_the_loop_free", {}),
    (waits_for_the_end, "test_leaving_after_one_chunk_closes_the_upstream", {}),
    (says_it_twice, "test_stream_gives_the_text", {}),
    (says_it_twice, "test_generate_and_stream_agree", {}),
    (encodes_anew, "test_payloads_are_the_upstreams_own", {}),
]


@pytest.mark.parametrize(("hook", "test", "arguments"), STREAMING)
async def test_bad_streaming_is_found(
    hook: Callable[..., Any], test: str, arguments: dict[str, Any]
) -> None:
    await failing(test, plain.module(stream=hook, generate=openai_generate), **arguments)


async def openai_generate(server: Server, client: Any, request: Request) -> Completion:
    return await openai_shape.generate(BOUND.target, server, client, request)


LEFT_BEHIND: set[asyncio.Task[Completion]] = set()


async def cannot_be_cancelled(server: Server, client: Any, request: Request) -> Completion:
    task = asyncio.create_task(openai_generate(server, client, request))
    LEFT_BEHIND.add(task)
    return await asyncio.shield(task)


async def asks_twice(server: Server, client: Any, request: Request) -> Completion:
    await openai_generate(server, client, request)
    return await openai_generate(server, client, request)


async def hides_the_reason(server: Server, client: Any, request: Request) -> Completion:
    try:
        return await openai_generate(server, client, request)
    except RelayError as error:
        raise PluginError("something went wrong") from error


async def forgets_the_text(server: Server, client: Any, request: Request) -> Completion:
    return Completion.of([""], id="x", model="y")


GENERATING = [
    (cannot_be_cancelled, "test_cancelling_generate_closes_the_upstream", {}),
    (asks_twice, "test_the_upstream_is_asked_once_for_an_answer", {}),
    (hides_the_reason, "test_a_status_becomes_its_error", {"status": 400, "how": "generate"}),
    (hides_the_reason, "test_a_stalled_whole_answer_times_out", {}),
    (forgets_the_text, "test_generate_gives_the_text", {}),
]


@pytest.mark.parametrize(("hook", "test", "arguments"), GENERATING)
async def test_bad_generating_is_found(
    hook: Callable[..., Any], test: str, arguments: dict[str, Any]
) -> None:
    await failing(test, plain.module(generate=hook), **arguments)
    await asyncio.gather(*LEFT_BEHIND, return_exceptions=True)
    LEFT_BEHIND.clear()


async def lists_whatever_happens(server: Server, client: Any) -> list[Model]:
    return [Model(id="always")]


@pytest.mark.parametrize(
    ("test", "arguments"),
    [
        ("test_listed_models_can_be_asked_for", {}),
        ("test_a_server_may_list_nothing", {}),
        ("test_a_failing_list_is_no_list", {"status": 500}),
    ],
)
async def test_bad_listing_is_found(test: str, arguments: dict[str, Any]) -> None:
    await failing(test, plain.module(list_models=lists_whatever_happens), **arguments)


class TestDeviations:
    def test_a_changed_test_without_a_reason_fails(self) -> None:
        class Changed(TestPlain):
            def test_stream_gives_the_text(self) -> None:
                pass

        with pytest.raises(AssertionError, match="does_not_apply: test_stream_gives_the_text"):
            Changed().test_deviations_have_reasons()

    def test_a_deleted_test_without_a_reason_fails(self) -> None:
        class Deleted(TestPlain):
            test_fix_text_is_pure = None  # type: ignore[assignment]

        with pytest.raises(AssertionError, match="test_fix_text_is_pure"):
            Deleted().test_deviations_have_reasons()

    def test_reasons_are_enough(self) -> None:
        class Explained(TestPlain):
            test_fix_text_is_pure = does_not_apply("it has none")

            @deviates("it says more")
            async def test_stream_gives_the_text(self) -> None:
                pass

        Explained().test_deviations_have_reasons()
        with pytest.raises(pytest.skip.Exception, match="it has none"):
            Explained().test_fix_text_is_pure()

    @pytest.mark.parametrize("reason", ["", "  ", None])
    def test_a_reason_is_a_reason(self, reason: Any) -> None:
        with pytest.raises(ValueError, match="needs a reason"):
            does_not_apply(reason)

    def test_the_judge_stays(self) -> None:
        with pytest.raises(TypeError, match="must not replace"):
            type("Biased", (TestPlain,), {"test_deviations_have_reasons": does_not_apply("no")})


def test_the_example_plugin_passes() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=PARROT,
        env={**os.environ, "PYTHONPATH": str(PARROT), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
