"""What a client gets when an upstream fails in mid-answer (the contract is in docs/errors.md): the
events before the fault, one error event, no `[DONE]`. Unstreamed, it gets a status.
"""

from __future__ import annotations

import asyncio

import orjson
import pytest

from h2o_relay.testing.scripts import (
    LAST,
    Play,
    chunk,
    end,
    event,
    hang,
    head,
    json,
    play,
    reset,
    sse,
    stream,
    whole,
)

from .kit import (
    CHAT,
    Relay,
    assert_cut,
    assert_error,
    assert_intact,
    chat,
    completion,
    post,
    relay,
    said,
)
from .raw_client import Reply, error_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = said(3, None)
CUT = sse(said(9)).upto(3)
"""The head and three events."""
FAILURE = orjson.dumps({"error": {"message": "out of memory", "type": "x", "code": "oom"}})
CODED = orjson.dumps({"error": {"message": "too many", "type": "x", "code": 429}})
UNSHAPED = [
    b'{"choices":{}}',
    b'{"choices":[7]}',
    b'{"choices":[{"index":0,"delta":"x"}]}',
    b'{"choices":[{"index":0,"delta":{"content":5}}]}',
    b"[]",
    b"7",
    b'"text"',
    b"{}",
]
BROKEN = [b"{bad", b'{"choices":[', b"", b"data", b'{"choices":[]} x', b"NaN"]

ENDINGS: list[tuple[str, Play, str]] = [
    ("RST", CUT + play(reset), "upstream_disconnected"),
    ("FIN without the last chunk", CUT + play(end), "upstream_disconnected"),
    ("FIN inside a chunk", CUT + play(b"20\r\ndata: {", end), "upstream_disconnected"),
    ("half an event", CUT + play(chunk(b'data: {"choi'), LAST), "upstream_incomplete"),
    ("an event without its blank line", CUT + play(chunk(event(said(1)[0])[:-1]), LAST),
     "upstream_incomplete"),
    ("no finish reason", CUT + play(LAST), "upstream_incomplete"),
    ("no finish reason, [DONE]", sse(GOOD), "upstream_incomplete"),
    ("no finish reason, until FIN", sse(GOOD, framing="close"), "upstream_incomplete"),
    ("an error", sse([*GOOD, FAILURE, *said(2)]), "upstream_bad_response"),
    ("a coded error", sse([*GOOD, CODED]), "rate_limit_exceeded"),
    ("an error of type error", CUT + play(chunk(b'event: error\ndata: {"message":"x"}\n\n'), LAST),
     "upstream_bad_response"),
    ("bad UTF-8", sse([*GOOD, b'{"choices":[{"delta":{"content":"\xff"}}]}', *said(1)]),
     "upstream_bad_response"),
    ("bad chunked framing", CUT + play(b"zz\r\n", hang), "upstream_bad_response"),
]  # fmt: skip
ENDINGS += [(f"shape {p!r}", sse([*GOOD, p, *said(1)]), "upstream_bad_response") for p in UNSHAPED]
ENDINGS += [(f"JSON {p!r}", sse([*GOOD, p, *said(1)]), "upstream_bad_response") for p in BROKEN]


async def cut(running: Relay, script: Play) -> Reply:
    running.plays(script)
    reply = await running.ask(post(chat()))
    await running.calm()
    assert len(running.asked) == 1, "asked again after a byte went out"
    return reply


async def test_every_ending(running: Relay) -> None:
    for name, script, code in ENDINGS:
        try:
            assert_cut(await cut(running, script), GOOD, code)
        except AssertionError as error:
            error.add_note(name)
            raise


async def test_every_ending_when_all_comes_in_one_segment(running: Relay) -> None:
    for name, script, code in ENDINGS:
        if script.steps[-1] is reset:
            continue  # a reset destroys what it overtakes
        try:
            assert_cut(await cut(running, script.recut(lambda data: [data])), GOOD, code)
        except AssertionError as error:
            error.add_note(name)
            raise


async def test_an_answer_that_fails_at_its_first_event_is_a_status(running: Relay) -> None:
    for script, status, code in [
        (sse([FAILURE]), 502, "upstream_bad_response"),
        (sse([CODED]), 429, "rate_limit_exceeded"),
        (sse([b"{bad"]), 502, "upstream_bad_response"),
        (sse([]), 502, "upstream_incomplete"),
        (sse([], done=False), 502, "upstream_incomplete"),
        (sse([]).upto(0) + play(reset), 502, "upstream_disconnected"),
        (sse([]).upto(0) + play(end), 502, "upstream_disconnected"),
    ]:
        assert_error(await cut(running, script), status, code)


async def test_messages_say_what_the_upstream_said_without_our_key() -> None:
    secret = "sk-upstream-canary"
    failure = orjson.dumps({"error": {"message": f"key {secret} is out of memory"}})
    url = "vllm_chat:127.0.0.1:{port}:/v1:" + secret
    async with relay(sse([*GOOD, failure]), servers=[url]) as running:
        reply = await running.ask(post(chat()))
        assert running.asked[0].headers["authorization"] == f"Bearer {secret}"
    error = assert_cut(reply, GOOD, "upstream_bad_response")
    assert "out of memory" in error["message"]
    assert secret.encode() not in reply.body


async def test_silence() -> None:
    async with relay(CUT + play(hang), idle_timeout=2.5) as running:
        reply = await running.ask(post(chat()))
        over = asyncio.get_running_loop().time()
        await running.calm(0.1)
    assert_cut(reply, GOOD, "idle_timeout")
    assert 2.4 < over - reply.pieces[2][0] < 10


async def test_drips_below_the_idle_limit_have_all_the_time_they_want() -> None:
    async with relay(sse(said(6)).paced(0.6), idle_timeout=3, first_byte_timeout=3) as run:
        assert_intact(await run.ask(post(chat())), said(6))


async def test_nothing_at_all_is_a_first_byte_timeout() -> None:
    async with relay(first_byte_timeout=0.2, answer_timeout=0.2) as running:
        for script in (play(hang), sse([]).upto(0) + play(hang)):
            running.plays(script)
            assert_error(await running.ask(post(chat())), 504, "first_byte_timeout")
        running.plays(json(completion()).recut(lambda d: [d[:80]]) + play(hang))
        reply = await running.ask(post(chat(stream=False)))
        assert (reply.status, reply.error["type"]) == (504, "timeout_error")


async def test_an_event_over_the_limit() -> None:
    limit = 300_000  # more than is read at once
    giant = said(1, None, text="x" * (limit + 100_000))
    unending = CUT + play(chunk(b"data: " + b"x" * 200_000), chunk(b"x" * 200_000), hang)
    fits = said(1, None, text="x" * (limit - 200))
    async with relay(max_event=limit) as running:
        for script in (sse(GOOD + giant), unending, sse(GOOD + giant).recut(lambda data: [data])):
            reply = await cut(running, script)
            assert_cut(reply, GOOD, "upstream_response_too_large")
        assert_error(await cut(running, sse(giant)), 502, "upstream_response_too_large")
        assert_intact(await cut(running, sse(fits + said(1))), fits + said(1))


async def test_what_follows_done_is_not_passed_on(running: Relay) -> None:
    after = chunk(event(b'{"choices":[{"delta":{"content":"AFTER"}}]}'))
    done = sse(said(3))
    for script in (
        Play(done.steps[:-1]) + play(after, LAST),
        (Play(done.steps[:-1]) + play(after, LAST)).recut(lambda data: [data]),
    ):
        running.plays(script)
        assert_intact(await running.ask(post(chat())), said(3))


async def test_done_and_then_silence_releases_the_client_at_once(running: Relay) -> None:
    script = Play(sse(said(3)).steps[:-1]) + play(hang)
    running.plays(script)
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert_intact(await running.ask(post(chat())), said(3))
    assert loop.time() - started < running.settings.idle_timeout
    await running.calm(1.5)


async def test_all_choices_must_finish(running: Relay) -> None:
    one = b'{"choices":[{"index":0,"delta":{"content":"a"}}]}'
    ended = b'{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}'
    running.plays(sse([one, ended]))
    *events, last = (await running.ask(post(chat(n=2)))).payloads
    assert events == [one, ended]
    assert error_of(last)["code"] == "upstream_incomplete"


UNSTREAMED: list[tuple[str, Play, str]] = [
    ("RST", play(reset), "upstream_disconnected"),
    ("FIN", play(end), "upstream_disconnected"),
    ("RST in the body", play(json(completion()).wire[:120], reset), "upstream_disconnected"),
    ("FIN in the body", play(json(completion()).wire[:120], end), "upstream_disconnected"),
    ("FIN without the last chunk", stream([b"{}"]).upto(1) + play(end), "upstream_disconnected"),
    ("no JSON", whole(b"{bad"), "upstream_bad_response"),
    ("bad UTF-8", whole(b'{"choices":[{"a":"\xff"}]}'), "upstream_bad_response"),
    ("no choices", json({"id": "x"}), "upstream_bad_response"),
    ("choices of a wrong shape", json({"choices": [1]}), "upstream_bad_response"),
    ("a list", json([1]), "upstream_bad_response"),
    ("HTML", whole(b"<html>hi</html>", content_type="text/html"), "upstream_bad_response"),
    ("an error with status 200", whole(FAILURE), "upstream_bad_response"),
    ("two lengths", play(head(200, {"content-length": "2", "Content-Length": "3"}), b"{}}"),
     "upstream_bad_response"),
    ("no HTTP", play(b"SSH-2.0-x\r\n\r\n", hang), "upstream_bad_response"),
]  # fmt: skip


async def test_unstreamed_answers_that_fail(running: Relay) -> None:
    for name, script, code in UNSTREAMED:
        running.plays(script)
        reply = await running.ask(post(chat(stream=False)))
        try:
            assert_error(reply, 502, code, "upstream_error")
            assert len(running.asked) == 1
        except AssertionError as error:
            error.add_note(name)
            raise
        await running.calm()


async def test_an_unstreamed_answer_over_the_limit() -> None:
    async with relay(json(completion("x" * 5000)), max_event=4096) as running:
        reply = await running.ask(post(chat(stream=False), CHAT))
    assert_error(reply, 502, "upstream_response_too_large")
