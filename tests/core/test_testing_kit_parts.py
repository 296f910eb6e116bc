"""The conformance kit's smaller parts: the echo backend, the socket guard, the pytest fixtures."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import pytest

from h2o_relay.errors import (
    BadServerString,
    InvalidRequest,
    RateLimited,
    UpstreamBadResponse,
    UpstreamDisconnected,
)
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.settings import Settings
from h2o_relay.testing import echo, no_sockets
from h2o_relay.testing.scripts import json
from h2o_relay.testing.upstream import ScriptedUpstream, until

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def fresh_journal() -> Iterator[None]:
    echo.journal.clear()
    yield
    echo.journal.clear()


@asynccontextmanager
async def relay(server: str = "echo") -> AsyncIterator[Kernel]:
    plugins = Plugins.of(echo=echo)
    async with Kernel(Settings(), servers=[server], plugins=plugins) as kernel:
        await kernel.settled(20)
        yield kernel


def chat(text: str, model: str = "echo", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


class TestEcho:
    async def test_repeats_word_by_word_with_usage(self) -> None:
        asked = chat("one  two\nthree", stream=True, stream_options={"include_usage": True})
        async with relay() as kernel, kernel.stream("chat", asked) as answer:
            chunks = [chunk async for chunk in answer]
        assert [chunk.text for chunk in chunks] == ["one  ", "two\n", "three", "", ""]
        assert [chunk.finish_reason for chunk in chunks] == [None, None, None, "stop", None]
        assert chunks[-1].usage == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
        assert (echo.journal.finished, echo.journal.cancelled) == (1, 0)

    async def test_generates(self) -> None:
        async with relay("echo:polly") as kernel:
            assert [item.name for item in kernel.models()] == ["polly"]
            completion = await kernel.generate("chat", chat("hello there", "polly"))
            text = await kernel.generate("text", {"model": "polly", "prompt": "plain"})
        assert completion.text == "hello there"
        assert completion.data["model"] == "polly"
        assert text.text == "plain"
        assert [request.kind for request in echo.journal.requests] == ["chat", "text"]

    async def test_refuses(self) -> None:
        async with relay() as kernel:
            with pytest.raises(RateLimited):
                await kernel.generate("chat", chat("!refuse 429"))
            with pytest.raises(InvalidRequest) as caught:
                async with kernel.stream("chat", chat("!refuse 422", stream=True)):
                    pass
        assert caught.value.status == 422

    @pytest.mark.parametrize(
        ("order", "error"), [("!break 3", UpstreamBadResponse), ("!cut 3", UpstreamDisconnected)]
    )
    async def test_breaks_off(self, order: str, error: type[Exception]) -> None:
        words: list[str] = []

        async def listen(kernel: Kernel) -> None:
            async with kernel.stream("chat", chat(f"{order} a b", stream=True)) as answer:
                async for chunk in answer:
                    words.append(chunk.text)  # noqa: PERF401

        async with relay() as kernel:
            with pytest.raises(error):
                await listen(kernel)
        assert words == [f"{order.split()[0]} ", "3 ", "a "]

    async def test_notes_who_leaves(self) -> None:
        async with relay("echo:echo?delay=0.01") as kernel:
            async with kernel.stream("chat", chat("a b c", stream=True)) as answer:
                assert (await anext(aiter(answer))).text == "a "
                assert echo.journal.cancelled == 0
            assert echo.journal.cancelled == 1
            task = asyncio.create_task(kernel.generate("chat", chat("!slow 30")))
            await until(lambda: len(echo.journal.requests) == 2, within=1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (echo.journal.finished, echo.journal.cancelled) == (0, 2)

    @pytest.mark.parametrize("text", ["echo:a?delay=soon", "echo:a?colour=red"])
    def test_refuses_what_it_cannot_read(self, text: str) -> None:
        with pytest.raises(BadServerString, match="delay"):
            Plugins.of(echo=echo).parse(text)


class TestNoSockets:
    @pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
    def test_refuses_to_open(self, family: socket.AddressFamily) -> None:
        with pytest.raises(AssertionError, match="a socket was opened"), no_sockets():
            socket.socket(family)

    def test_refuses_to_look_up(self) -> None:
        with pytest.raises(AssertionError, match="'example' was looked up"), no_sockets():
            socket.gethostbyname("example")

    def test_allows_what_a_loop_needs_and_ends(self) -> None:
        with no_sockets():
            assert asyncio.run(asyncio.sleep(0, "done")) == "done"
        socket.socket().close()


async def test_scripted_upstream_fixture(scripted_upstream: ScriptedUpstream) -> None:
    for script, status in ((None, b" 404 "), (json({}), b" 200 ")):
        scripted_upstream.script = script or scripted_upstream.script
        reader, writer = await asyncio.open_connection("127.0.0.1", scripted_upstream.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert status in await reader.readuntil(b"\r\n")
        writer.close()
        await writer.wait_closed()


def test_relay_settings_fixture(relay_settings: Settings) -> None:
    assert (relay_settings.connect_timeout, relay_settings.first_byte_timeout) == (5, 5)
    assert (relay_settings.idle_timeout, relay_settings.answer_timeout) == (5, 20)


def inner(pytester: pytest.Pytester, body: str, *more: str) -> pytest.RunResult:
    """Run test functions in a pytest of their own, which watches for what they leave behind."""
    pytester.makepyfile(
        "import asyncio, os, socket, pytest\n"
        "@pytest.fixture(autouse=True)\n"
        "def watch(leaves_nothing): pass\n" + body
    )
    options = ("-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function")
    return pytester.runpytest_inprocess(*options, *(more or ("--asyncio-mode=auto",)))


def test_leaving_something_behind_fails(pytester: pytest.Pytester) -> None:
    result = inner(
        pytester,
        """
async def forever(): await asyncio.sleep(60)
left = []
async def test_task(): left.append(asyncio.create_task(forever()))
def test_environment(): os.environ["H2O_LEFT"] = "1"
def test_deleted(): del os.environ["H2O_LEFT"]
""",
    )
    result.assert_outcomes(passed=3, errors=3)
    result.stdout.fnmatch_lines_random(
        [
            "*left tasks running: forever*",
            "*left environment variables changed: H2O_LEFT*",
        ]
    )


def test_leaving_nothing_behind_passes(pytester: pytest.Pytester) -> None:
    result = inner(
        pytester,
        """
async def soon(): await asyncio.sleep(0.01)
left = []
async def test_task(): left.append(asyncio.create_task(soon()))
def test_environment(monkeypatch): monkeypatch.setenv("H2O_SET", "1")
async def test_both(monkeypatch, scripted_upstream):
    monkeypatch.setenv("H2O_SET", "1")
    await asyncio.create_task(soon())
""",
    )
    result.assert_outcomes(passed=3)


def test_the_no_sockets_fixture_fails_a_test(pytester: pytest.Pytester) -> None:
    result = inner(
        pytester,
        """
def test_opens(no_sockets):
    with pytest.raises(AssertionError): socket.socket()
def test_does_not(no_sockets): pass
""",
    )
    result.assert_outcomes(passed=2, errors=1)


def test_async_fixtures_and_the_suite_work_in_strict_mode(pytester: pytest.Pytester) -> None:
    result = inner(
        pytester,
        """
from h2o_relay.testing import BackendSuite
@pytest.mark.asyncio
async def test_one(scripted_upstream): assert scripted_upstream.url
class TestOwn(BackendSuite):
    async def test_added(self): raise KeyError("it ran")
""",
        "--asyncio-mode=strict",
        "-k=test_one or test_added",
    )
    result.stdout.fnmatch_lines(["*KeyError: 'it ran'*"])
    result.assert_outcomes(passed=1, failed=1)


def test_the_pytest_plugin_imports_nothing_of_the_relay() -> None:
    script = (
        "import sys, h2o_relay.testing.pytest_plugin\n"
        "print(*sorted(m for m in sys.modules if m.startswith('h2o_relay')))\n"
        "print(*sorted(m for m in sys.modules if m in ('orjson', 'httptools', 'aiohttp')))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "h2o_relay h2o_relay.testing h2o_relay.testing.pytest_plugin\n\n"


def test_the_kits_names_can_be_imported() -> None:
    from h2o_relay import testing

    for name in testing.__all__:
        assert getattr(testing, name) is not None
    assert isinstance(testing.echo, ModuleType)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        testing.nothing  # noqa: B018
