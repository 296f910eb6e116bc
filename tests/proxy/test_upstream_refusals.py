"""What an upstream answers before the first event: what of it is the caller's business."""

from __future__ import annotations

import logging
import socket

import pytest

from h2o_relay.testing.scripts import (
    EARLY_HINTS,
    Play,
    hang,
    json,
    play,
    redirect,
    sse,
    stream,
    whole,
)

from .kit import Relay, assert_error, assert_intact, chat, completion, get, post, relay, said
from .raw_client import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "sk-upstream-canary"
KEYED = ["vllm_chat:127.0.0.1:{port}:/v1:" + SECRET]
BODY = {
    "error": {
        "message": f"the key {SECRET} cannot do this",
        "type": "their_type",
        "param": "messages[0]",
        "code": "their_code",
    }
}
PASSED = [400, 402, 404, 405, 409, 410, 413, 415, 418, 422, 424, 451, 499]
OURS = {
    401: (502, "upstream_auth_error", "upstream_error"),
    403: (502, "upstream_auth_error", "upstream_error"),
    408: (504, "deadline_exceeded", "timeout_error"),
    429: (429, "rate_limit_exceeded", "rate_limit_error"),
    500: (502, "upstream_bad_response", "upstream_error"),
    501: (502, "upstream_bad_response", "upstream_error"),
    502: (502, "upstream_bad_response", "upstream_error"),
    503: (503, "upstream_unavailable", "overloaded_error"),
    504: (504, "deadline_exceeded", "timeout_error"),
    529: (503, "upstream_unavailable", "overloaded_error"),
    599: (502, "upstream_bad_response", "upstream_error"),
}
BOTH = (True, False)


async def refused(running: Relay, script: Play, streamed: bool) -> Reply:
    running.plays(script)
    reply = await running.ask(post(chat(streamed)))
    await running.calm()
    assert len(running.asked) == 1, "asked again"
    assert SECRET.encode() not in reply.body
    return reply


async def test_statuses_that_are_the_callers_are_passed_on() -> None:
    async with relay(servers=KEYED) as running:
        for status in PASSED:
            for streamed in BOTH:
                reply = await refused(running, json(BODY, status), streamed)
                assert_error(reply, status, "their_code", "their_type")
                assert reply.error["param"] == "messages[0]"
                assert reply.error["message"] == "the key *** cannot do this"


async def test_statuses_that_are_translated() -> None:
    async with relay(servers=KEYED) as running:
        for status, (ours, code, kind) in OURS.items():
            for streamed in BOTH:
                reply = await refused(running, json(BODY, status), streamed)
                assert_error(reply, ours, code, kind)


async def test_context_length(running: Relay) -> None:
    error = {"message": "too long", "code": "context_length_exceeded", "param": "messages"}
    for streamed in BOTH:
        reply = await refused(running, json({"error": error}, 400), streamed)
        assert_error(reply, 400, "context_length_exceeded", "invalid_request_error")
        assert reply.error["param"] == "messages"


async def test_error_bodies_of_other_shapes(running: Relay) -> None:
    bodies = [
        whole(b'{"detail":"odd"}', 400),
        whole(b'{"error":"odd"}', 422),
        whole(b'{"object":"error","message":"odd","code":40001}', 400),
        whole(b"<html>odd</html>", 404, "text/html"),
        whole(b"", 400),
        whole(b"\xff\xfe", 400),
        whole(b"[" * 5000, 400),
        json({"error": {"message": ["odd"], "code": {"a": 1}, "type": 7}}, 400),
    ]
    for script in bodies:
        for streamed in BOTH:
            reply = await refused(running, script, streamed)
            assert reply.status in (400, 404, 422)
            assert reply.error["message"]


async def test_waits_that_the_upstream_asks_for_are_passed_on() -> None:
    waits = {"99999": "99999", "0.2": "1", "0": "0", "-3": "0", "soon": None}
    async with relay(servers=KEYED) as running:
        for status in (429, 503):
            for given, told in waits.items():
                for streamed in BOTH:
                    headers = {"retry-after": given}
                    reply = await refused(running, json(BODY, status, headers), streamed)
                    assert reply.status == status
                    assert reply.headers.get("retry-after") == told
                    assert_error(reply, status, OURS[status][1])


async def test_a_wait_that_is_no_number_of_seconds(running: Relay) -> None:
    for given in ("inf", "1e999", "nan", "-inf"):
        reply = await refused(running, json({}, 429, {"retry-after": given}), True)
        assert_error(reply, 429, "rate_limit_exceeded")
        assert reply.headers.get("retry-after", "0").isdigit()


async def test_redirects_are_not_followed() -> None:
    async with relay() as running, relay() as elsewhere:
        elsewhere.plays(sse(said(1)))
        for status in (301, 302, 303, 307, 308):
            for streamed in BOTH:
                script = redirect(f"{elsewhere.upstream.url}/v1/chat/completions", status)
                reply = await refused(running, script, streamed)
                assert_error(reply, 502, "upstream_redirect", "upstream_error")
        assert elsewhere.asked == []


async def test_a_200_that_is_no_stream(running: Relay) -> None:
    answers = [
        whole(b"<html>login</html>", content_type="text/html"),
        whole(b"", content_type="text/plain"),
        json(completion()),
        stream([b"data: x\n\n"], content_type="text/plain"),
    ]
    for script in answers:
        assert_error(await refused(running, script, True), 502, "upstream_bad_response")
    reply = await refused(running, json({"error": {"message": "odd", "code": 404}}), True)
    assert_error(reply, 404, None)
    assert reply.error["message"] == "odd"


async def test_giant_refusals_are_not_read_whole(running: Relay) -> None:
    unending = stream([b"x" * 2**16] * 2, status=500).upto(2) + play(hang)
    giant = play(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 2**20 + b"\r\n\r\n", hang)
    for streamed in BOTH:
        assert_error(await refused(running, unending, streamed), 502, "upstream_bad_response")
        assert_error(await refused(running, giant, streamed), 502, "upstream_bad_response")


async def test_early_hints_are_skipped(running: Relay) -> None:
    reply = await refused(running, play(EARLY_HINTS) + sse(said(2)), True)
    assert_intact(reply, said(2))


async def test_an_upstream_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        named = ["vllm_chat:{url}/v1", (f"vllm_chat:127.0.0.1:{port}:/v1:{SECRET}", "gone")]
        with caplog.at_level(logging.DEBUG):
            async with relay(servers=named) as running:
                for streamed in BOTH:
                    reply = await running.ask(post(chat(streamed, model="gone")))
                    assert_error(reply, 502, "upstream_unreachable", "upstream_error")
                    assert str(port).encode() not in reply.body
                assert_intact(await running.ask(post(chat())), said(3))
                listed = (await running.ask(get("/v1/models"))).body
    assert b"gone" in listed
    assert SECRET.encode() not in listed
    assert SECRET not in caplog.text
