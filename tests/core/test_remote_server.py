"""The relay's API as `RemoteKernel` reads it, byte for byte."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from conversations import streamed

from h2o_relay.errors import InvalidRequest, RelayError
from h2o_relay.remote import RemoteKernel
from h2o_relay.testing.scripts import chunk, event, json, play, sse
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, Script, ScriptedUpstream

pytestmark = pytest.mark.usefixtures("leaves_nothing")
KEY = "internal-canary-8f30"
VIEW = {
    "id": "1", "name": "m", "model": "m", "base_model": None, "server": "echo", "plugin": "echo",
    "state": "healthy", "stage": "ready", "reason": "", "since": 0.0, "visible": True,
    "added": False,
    "max_context": 4096, "kinds": ["chat"], "fields": None, "vision": None, "prompt_type": None,
    "loadable": False, "running": 0, "waiting": 0, "latency": None, "requests": 0, "failures": 0,
    "tokens": 0, "from_a_newer_relay": 1,
}  # fmt: skip
LIST = json({"object": "list", "data": [VIEW]})
CHANGES = sse([orjson.dumps({"data": [VIEW]})], done=False)


def event_of(finish: str | None = None, **delta: str) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return orjson.dumps({"id": "1", "object": "chat.completion.chunk", "choices": [choice]})


def failure(**error: object) -> bytes:
    return orjson.dumps({"error": {"type": "x", "param": None, **error}})


@contextlib.asynccontextmanager
async def opened(upstream: ScriptedUpstream, answer: Script) -> AsyncIterator[RemoteKernel]:
    async def script(request: Received, to: Answer) -> None:
        changes = request.path == "/admin/changes"
        await (answer if request.method == "POST" else CHANGES if changes else LIST)(request, to)

    upstream.script = script
    async with RemoteKernel(upstream.url, KEY, quick()) as kernel:
        await kernel.settled(20)
        yield kernel


async def heard(upstream: ScriptedUpstream, answer: Script) -> tuple[str, RelayError | None]:
    """An answer's text, and what it ended with."""
    async with opened(upstream, answer) as kernel:
        hi = {"role": "user", "content": "hi"}
        return await streamed(kernel, {"model": "m", "messages": [hi]})


async def test_the_key_goes_with_every_request(scripted_upstream: ScriptedUpstream) -> None:
    text, error = await heard(scripted_upstream, sse([event_of(content="x"), event_of("stop")]))
    assert (text, error) == ("x", None)
    sent = {(r.method, r.path): r.headers["authorization"] for r in scripted_upstream.requests}
    assert set(sent.values()) == {f"Bearer {KEY}"}
    assert ("POST", "/v1/chat/completions") in sent
    assert ("GET", "/admin/changes") in sent


async def test_what_a_newer_relay_says_is_no_fault(scripted_upstream: ScriptedUpstream) -> None:
    async with opened(scripted_upstream, json({})) as kernel:
        (view,) = kernel.deployments()
        assert (view.name, view.kinds, view.max_context) == ("m", ("chat",), 4096)


@pytest.mark.parametrize("more", [{"max_tokens": 2**64}, {"user": "\ud83d"}])
async def test_what_json_cannot_say_is_refused(
    scripted_upstream: ScriptedUpstream, more: dict[str, Any]
) -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **more}
    async with opened(scripted_upstream, sse([event_of("stop")])) as kernel:
        with pytest.raises(InvalidRequest, match="the request cannot be sent"):
            async with kernel.stream("chat", asked):
                pass


async def test_an_error_of_the_relay_is_not_reworded(scripted_upstream: ScriptedUpstream) -> None:
    body = orjson.loads(failure(message="the server at rack 4 is down", code="upstream_x"))
    _, error = await heard(scripted_upstream, json(body, 502))
    assert error is not None
    assert (error.message, error.code, error.status) == (
        "the server at rack 4 is down", "upstream_x", 502,
    )  # fmt: skip


async def test_nor_is_one_in_the_middle(scripted_upstream: ScriptedUpstream) -> None:
    broken = failure(message="it ended without finishing", code="upstream_incomplete")
    both = event(event_of(content="half")) + event(broken)
    start = sse([event_of(role="assistant")], done=False).upto(1)
    text, error = await heard(scripted_upstream, start + play(chunk(both), b"0\r\n\r\n"))
    assert text == "half"
    assert error is not None
    assert error.message == "it ended without finishing"


async def test_a_stream_that_just_ends_is_an_error(scripted_upstream: ScriptedUpstream) -> None:
    text, error = await heard(scripted_upstream, sse([event_of(content="half")], done=False))
    assert text == "half"
    assert error is not None


async def test_an_answer_without_an_error_body(scripted_upstream: ScriptedUpstream) -> None:
    _, error = await heard(scripted_upstream, json([], 418))
    assert error is not None
    assert error.message == "the relay answered 418"


async def test_a_refusal_of_the_key_is_told(scripted_upstream: ScriptedUpstream) -> None:
    refused = json(orjson.loads(failure(message="no such key", code="invalid_api_key")), 401)
    scripted_upstream.script = refused
    async with RemoteKernel(scripted_upstream.url, KEY, quick()) as kernel:
        await kernel.settled(0.5)
        (status,) = kernel.status()
        assert (status.stage, kernel.models()) == ("offline", [])
