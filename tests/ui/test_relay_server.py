"""The relay's API as a server of the page's kernel, byte for byte."""

from __future__ import annotations

import orjson
import pytest

from h2o_relay.testing.scripts import chunk, event, json, play, sse
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, Script, ScriptedUpstream, until
from h2o_relay_ui.assistant import Assistant, Wishes
from h2o_relay_ui.conversation import said, thought
from h2o_relay_ui.relay import open_kernel

from .kit import KEY, asked, lines

pytestmark = pytest.mark.usefixtures("leaves_nothing")
LIST = json({"object": "list", "data": [{"id": "m"}]})


def event_of(finish: str | None = None, **delta: str) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return orjson.dumps({"id": "1", "object": "chat.completion.chunk", "choices": [choice]})


def failure(**error: object) -> bytes:
    return orjson.dumps({"error": {"type": "x", "param": None, **error}})


async def shown(upstream: ScriptedUpstream, answer: Script) -> list[str]:
    """The thread's lines after one question that is answered so."""

    async def script(request: Received, to: Answer) -> None:
        await (answer if request.method == "POST" else LIST)(request, to)

    upstream.script = script
    async with open_kernel(upstream.url, KEY, quick()) as kernel:
        await kernel.settled(2)
        seen = [h async for h in Assistant(kernel).answer(asked("hi"), Wishes(), "s")]
    return [line.replace("\\", "") for line in lines(seen[-1])[1:]]


async def test_the_key_goes_with_every_request(scripted_upstream: ScriptedUpstream) -> None:
    await shown(scripted_upstream, sse([event_of(content="x"), event_of("stop")]))
    paths = {(r.method, r.path): r.headers["authorization"] for r in scripted_upstream.requests}
    assert paths == {
        ("GET", "/v1/models"): f"Bearer {KEY}",
        ("POST", "/v1/chat/completions"): f"Bearer {KEY}",
    }


async def test_an_error_of_the_relay_is_not_reworded(scripted_upstream: ScriptedUpstream) -> None:
    body = orjson.loads(failure(message="the server at rack 4 is down", code="upstream_x"))
    assert await shown(scripted_upstream, json(body, 502)) == [
        "**⚠ No answer.** the server at rack 4 is down"
    ]


async def test_nor_is_one_in_the_middle(scripted_upstream: ScriptedUpstream) -> None:
    broken = failure(message="it ended without finishing", code="upstream_incomplete")
    both = event(event_of(content="half")) + event(broken)
    start = sse([event_of(role="assistant")], done=False).upto(1)
    assert await shown(scripted_upstream, start + play(chunk(both), b"0\r\n\r\n")) == [
        "half",
        "**⚠ The answer broke off.** it ended without finishing",
    ]


async def test_a_stream_that_just_ends_is_an_error(scripted_upstream: ScriptedUpstream) -> None:
    text, problem = await shown(scripted_upstream, sse([event_of(content="half")], done=False))
    assert text == "half"
    assert problem.startswith("**⚠ The answer broke off.**")


async def test_an_answer_without_an_error_body(scripted_upstream: ScriptedUpstream) -> None:
    assert await shown(scripted_upstream, json([], 418)) == [
        "**⚠ No answer.** the relay answered 418"
    ]


async def test_a_refused_key_is_called_that(scripted_upstream: ScriptedUpstream) -> None:
    body = orjson.loads(failure(message="The API key is not correct.", code="invalid_api_key"))
    line = "The relay does not accept the chat page's key: The API key is not correct."
    assert await shown(scripted_upstream, json(body, 401)) == [f"**⚠ No answer.** {line}"]


async def test_why_there_is_no_model_is_known(scripted_upstream: ScriptedUpstream) -> None:
    scripted_upstream.script = json(orjson.loads(failure(message="warming up")), 503)
    async with open_kernel(scripted_upstream.url, None, quick()) as kernel:
        assistant = Assistant(kernel)
        assert await assistant.models() == []
        assert assistant.problem() == "warming up"
        scripted_upstream.script = json({"object": "list", "data": []})
        await until(lambda: kernel.status()[0].state == "ready", within=2)
        assert assistant.problem() == "The relay has no model yet. It may still be loading one."


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
    play = sse([event_of(content="half"), event_of(finish)])
    assert await shown(scripted_upstream, play) == ["half", line]


async def test_an_answer_without_a_word_says_so(scripted_upstream: ScriptedUpstream) -> None:
    assert await shown(scripted_upstream, sse([event_of("stop")])) == [
        "**⚠ No answer.** The model ended its answer without a word."
    ]


async def test_thoughts_come_apart_from_the_answer(scripted_upstream: ScriptedUpstream) -> None:
    thinking = [event_of(reasoning_content="hm "), event_of(reasoning_content="so")]
    speaking = [event_of(content="yes"), event_of("stop")]

    async def script(request: Received, answer: Answer) -> None:
        if request.method == "GET":
            return await LIST(request, answer)
        slow = sse([*thinking, *speaking]).paced(0.08)
        return await slow(request, answer)

    scripted_upstream.script = script
    async with open_kernel(scripted_upstream.url, None, quick()) as kernel:
        await kernel.settled(2)
        seen = [h[1:] async for h in Assistant(kernel).answer(asked("hi"), Wishes(), "s")]
    assert [thought("Thinking", "hm ", pending=True)] in seen
    assert seen[-1] == [thought("Thinking", "hm so", pending=False), said("assistant", "yes")]
