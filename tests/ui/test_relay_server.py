"""The relay's API as the page meets it, byte for byte: what a thread says of its answers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import asdict

import orjson
import pytest

from h2o_relay.remote import RemoteKernel
from h2o_relay.testing.scripts import chunk, event, head, json, play, sse
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, Script, ScriptedUpstream, until
from h2o_relay_ui.chats import NO_MODEL, problem

from .fakes import view
from .kit import KEY, Talk, lines, talk

pytestmark = pytest.mark.usefixtures("leaves_nothing")
VIEWS = event(orjson.dumps({"object": "list", "data": [asdict(view("m"))]}))
NONE = event(orjson.dumps({"object": "list", "data": []}))


def event_of(finish: str | None = None, **delta: str) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return orjson.dumps({"id": "1", "object": "chat.completion.chunk", "choices": [choice]})


def failure(**error: object) -> bytes:
    return orjson.dumps({"error": {"type": "x", "param": None, **error}})


def relay(answer: Script, views: bytes = VIEWS) -> Script:
    """A relay with a model that answers so."""

    async def script(request: Received, to: Answer) -> None:
        if request.method == "POST":
            await answer(request, to)
        elif request.path == "/admin/changes":
            kind = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
            await to.send(head(200, kind) + chunk(views))
            await to.hang()
        else:
            await json({"object": "list", "data": [{"id": "m"}]})(request, to)

    return script


@contextlib.asynccontextmanager
async def page(upstream: ScriptedUpstream, script: Script) -> AsyncIterator[Talk]:
    upstream.script = script
    async with RemoteKernel(upstream.url, KEY, quick()) as kernel, talk(kernel) as one:
        await kernel.settled(20)
        yield one


async def shown(upstream: ScriptedUpstream, answer: Script) -> list[str]:
    """The thread's rows after one question that is answered so, without the figures."""
    async with page(upstream, relay(answer)) as one:
        return lines(await one.ask("hi"))[1:-1]


async def test_the_key_goes_with_every_request(scripted_upstream: ScriptedUpstream) -> None:
    await shown(scripted_upstream, sse([event_of(content="x"), event_of("stop")]))
    keys = {r.headers["authorization"] for r in scripted_upstream.requests}
    paths = {(r.method, r.path) for r in scripted_upstream.requests}
    assert keys == {f"Bearer {KEY}"}
    assert {("GET", "/admin/changes"), ("POST", "/v1/chat/completions")} <= paths


async def test_an_error_of_the_relay_is_not_reworded(scripted_upstream: ScriptedUpstream) -> None:
    body = orjson.loads(failure(message="the server at rack 4 is down", code="upstream_x"))
    assert await shown(scripted_upstream, json(body, 502)) == [
        "**⚠ No answer.** the server at rack 4 is down\n\nRetry, or choose another model."
    ]


async def test_nor_is_one_in_the_middle(scripted_upstream: ScriptedUpstream) -> None:
    broken = failure(message="it ended without finishing", code="upstream_incomplete")
    both = event(event_of(content="half")) + event(broken)
    start = sse([event_of(role="assistant")], done=False).upto(1)
    half, line = await shown(scripted_upstream, start + play(chunk(both), b"0\r\n\r\n"))
    assert half == "half"
    assert line.startswith("**⚠ The answer broke off.** it ended without finishing")


async def test_a_stream_that_just_ends_is_an_error(scripted_upstream: ScriptedUpstream) -> None:
    text, line = await shown(scripted_upstream, sse([event_of(content="half")], done=False))
    assert text == "half"
    assert line.startswith("**⚠ The answer broke off.**")


async def test_an_answer_without_an_error_body(scripted_upstream: ScriptedUpstream) -> None:
    [line] = await shown(scripted_upstream, json([], 418))
    assert line.startswith("**⚠ No answer.** the relay answered 418")


async def test_a_refused_key_says_what_to_do(scripted_upstream: ScriptedUpstream) -> None:
    body = orjson.loads(failure(message="The API key is not correct.", code="invalid_api_key"))
    hint = "The relay does not accept this page's key. Restart the relay."
    assert await shown(scripted_upstream, json(body, 401)) == [
        f"**⚠ No answer.** The API key is not correct.\n\n{hint}"
    ]


async def test_why_there_is_no_model_is_known(scripted_upstream: ScriptedUpstream) -> None:
    scripted_upstream.script = json(orjson.loads(failure(message="warming up")), 503)
    async with RemoteKernel(scripted_upstream.url, None, quick()) as kernel, talk(kernel) as one:
        await until(lambda: problem(one.context) == "warming up", within=5)
        scripted_upstream.script = relay(json({}), NONE)
        await until(lambda: problem(one.context) == NO_MODEL, within=5)


@pytest.mark.parametrize(
    ("finish", "line"),
    [
        ("length", "**⚠ Cut off.** The answer has as many tokens as it may have."),
        ("content_filter", "**⚠ Cut off.** The server's content filter ended the answer."),
    ],
)
async def test_a_cut_answer_says_so(
    scripted_upstream: ScriptedUpstream, finish: str, line: str
) -> None:
    answer = sse([event_of(content="half"), event_of(finish)])
    assert await shown(scripted_upstream, answer) == ["half", line]


async def test_an_answer_without_a_word_says_so(scripted_upstream: ScriptedUpstream) -> None:
    assert await shown(scripted_upstream, sse([event_of("stop")])) == [
        "**⚠ No answer.** The model ended its answer without a word."
    ]


async def test_reasoning_comes_apart_from_the_answer(scripted_upstream: ScriptedUpstream) -> None:
    thinking = [event_of(reasoning_content="hm "), event_of(reasoning_content="so")]
    answer = sse([*thinking, event_of(content="yes"), event_of("stop")])
    async with page(scripted_upstream, relay(answer)) as one:
        said = (await one.ask("hi"))[-1]
    assert (said["reasoning"], said["content"]) == ("hm so", "yes")
