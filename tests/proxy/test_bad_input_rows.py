"""Bad inputs of the acceptance plan: refused at once, before anything is asked upstream.

The rows are in `bad_input_rows.py`. The relay's server is tuned, so that requests of the other
dialects are read here and not forwarded to it as they are.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from h2o_relay.spec import ServerSpec
from h2o_relay.testing.scripts import json, sse
from h2o_relay.types import Tuning

from .bad_input_rows import (
    ANTHROPIC,
    EMBEDDINGS,
    FIELDS,
    GOOD,
    IN_ANTHROPICS_SHAPE,
    MODELS,
    RAW,
    Fields,
    Raw,
    encoded,
    written,
)
from .kit import (
    CHAT,
    KEY,
    MODEL,
    TEXT,
    Relay,
    assert_error,
    assert_intact,
    chat,
    completion,
    get,
    post,
    relay,
    said,
)
from .raw_client import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUTH = {"Authorization": f"Bearer {KEY}"}
QUICK = 0.5
"""Seconds that this thread works for one answer, for the relay and for the test; the plan asks for
0.05 on a quiet machine."""
SOON = 10.0
"""Seconds that pass meanwhile: other tests run beside this one."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tuned() -> AsyncIterator[Relay]:
    tuning = Tuning(max_max_new_tokens=100)
    server = ServerSpec(server="vllm_chat:{url}/v1", base_model=MODEL, tuning=tuning)
    async with relay(servers=[server], api_key=KEY, read_timeout=0.5) as running:
        yield running


async def sent(relay: Relay, body: bytes, path: str) -> Reply:
    loop = asyncio.get_running_loop()
    data = post(body, path, AUTH)
    relay.upstream.requests.clear()
    start, worked = loop.time(), time.thread_time()
    reply = await relay.ask(data)
    assert time.thread_time() - worked < QUICK
    assert loop.time() - start < SOON
    assert relay.asked == []
    return reply


def assert_refused(reply: Reply, path: str, status: int, code: str, param: str | None) -> None:
    """An error in the path's own shape that names the field."""
    if path not in IN_ANTHROPICS_SHAPE:
        assert_error(reply, status, code, "invalid_request_error")
        assert reply.error["param"] == param
        return
    assert reply.status == status, reply.body[:300]
    assert reply.headers["content-type"] == "application/json"
    body = reply.json()
    assert set(body) == {"type", "error", "request_id"}
    assert body["type"] == "error"
    assert set(body["error"]) == {"type", "message"}
    kind = "not_found_error" if status == 404 else "invalid_request_error"
    assert body["error"]["type"] == kind
    assert body["request_id"] == reply.headers["x-request-id"]
    assert status == 404 or param is None or param in body["error"]["message"]


@pytest.mark.parametrize(
    ("row", "path"),
    [pytest.param(row, path, id=f"{row.id}-{path}") for row in RAW for path in row.paths],
)
async def test_bodies(tuned: Relay, row: Raw, path: str) -> None:
    reply = await sent(tuned, row.make(encoded(path)), path)
    assert_refused(reply, path, 400, row.code, row.param)


@pytest.mark.parametrize(
    ("row", "path"),
    [pytest.param(row, path, id=f"{row.id}-{path}-{row.error}")
     for row in FIELDS for path in row.paths],
)  # fmt: skip
async def test_fields(tuned: Relay, row: Fields, path: str) -> None:
    body, param, code = row.on(path)
    reply = await sent(tuned, written(body), path)
    assert_refused(reply, path, row.status, code, param)


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize("name", MODELS)
async def test_models_that_are_not_there(
    tuned: Relay, name: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        reply = await sent(tuned, orjson.dumps({**GOOD[path], "model": name}), path)
    assert_refused(reply, path, 404, "model_not_found", "model")
    message = reply.json()["error"]["message"]
    assert len(message) < 250
    assert message.isprintable()
    assert not set(message) & set("<>&")
    assert "set-cookie" not in reply.headers
    assert "Set-Cookie" not in caplog.text


async def test_a_missing_field(tuned: Relay) -> None:
    for path, body, param in [
        (CHAT, {"model": "m"}, "messages"),
        (CHAT, GOOD[TEXT], "messages"),
        (TEXT, {"model": "m"}, "prompt"),
        (TEXT, GOOD[CHAT], "prompt"),
        (ANTHROPIC, GOOD[CHAT], "max_tokens"),
        (ANTHROPIC, {"model": "m", "max_tokens": 5}, "messages"),
        (EMBEDDINGS, {"model": "m"}, "input"),
    ]:
        reply = await sent(tuned, orjson.dumps(body), path)
        assert_refused(reply, path, 400, "missing_required_parameter", param)


async def test_numbers_that_are_far_too_large(tuned: Relay) -> None:
    good = encoded(CHAT)
    for digits in (30, 300, 400, 5000):
        reply = await sent(tuned, good[:-1] + b',"n":1' + b"0" * digits + b"}", CHAT)
        assert reply.status == 400
        assert reply.error["code"] in ("above_max_value", "invalid_value", "invalid_json")


async def test_hosts(tuned: Relay) -> None:
    """B43: what a Host header says is believed of nothing but the name."""
    for host in ("a/b?c#d", "evil.example", "x" * 10_240, "127.0.0.1@evil.example", "\t"):
        reply = await tuned.ask(get("/v1/models", Host=host))
        assert_error(reply, 401, "missing_api_key")
    async with relay() as running:
        for host in ("a/b?c#d", "evil.example", "x" * 10_240, "127.0.0.1@evil.example"):
            assert_error(await running.ask(get("/v1/models", Host=host)), 403, "host_not_allowed")
        two = get("/v1/models").replace(b"\r\n\r\n", b"\r\nHost: evil.example\r\n\r\n")
        assert_error(await running.ask(two), 400, "invalid_header")
        assert running.asked == []


async def test_many_ranges(tuned: Relay) -> None:
    """B50: no answer of the API is cut by a Range header, whatever it says."""
    ranges = "bytes=" + ",".join(["0-"] * 10_000)
    start = time.thread_time()
    reply = await tuned.ask(get("/v1/models", Range=ranges, **AUTH))
    assert reply.status == 200
    assert [model["id"] for model in reply.json()["data"]] == [MODEL]
    assert time.thread_time() - start < QUICK


async def test_what_no_server_offers() -> None:
    """B53: TGI has no embeddings, speech or images, and is not asked for them."""
    async with relay(servers=[("tgi:{url}", "t")]) as running:
        for path in ("/v1/embeddings", "/v1/audio/speech", "/v1/images/generations"):
            body = {"model": "t", "input": "x", "voice": "x", "prompt": "x"}
            reply = await running.ask(post(body, path))
            assert_error(reply, 404, "unknown_url", "invalid_request_error")
        assert running.asked == []


async def test_what_is_at_a_limit_passes() -> None:
    """Limits are the last values that are allowed, and servers judge what is theirs to judge:
    B19's order of messages, B31's patterns, B32's schemas.
    """
    user = {"role": "user", "content": "x"}
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    inline = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    schema = {
        "type": 7, "properties": {"a": {"pattern": "(a+)+$"}, "b": {"pattern": "("}}, "$ref": "#",
    }  # fmt: skip
    good: list[dict[str, Any]] = [
        {"n": 1, "temperature": 2, "top_p": 0, "stop": None, "stream_options": None},
        {"messages": [user] * 10_000},
        {"messages": [{"role": "system", "content": "a"}] * 2 + [user]},
        {"messages": [{"role": "tool", "content": "x", "tool_call_id": "nope"}]},
        {"messages": [user, {"role": "assistant", "content": None}]},
        {"messages": [{"role": "user", "content": [picture, inline]}]},
        {"stop": ["a" * 4096] * 256},
        {"tools": [{"type": "function", "function": {"parameters": schema}}] * 512},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}},
        {"logit_bias": {str(k): -100 for k in range(1000)}, "seed": -1, "max_tokens": 2**31 - 1},
        {"seed": 2**64 - 1, "logit_bias": {"-1": 0.5}},
        {"extra": orjson.Fragment(b"[" * 63 + b"]" * 63)},
        {"unknown": {"a": [1, {"b": None}]}, "__proto__": 1, "é": "\u0000"},
    ]
    async with relay(sse(said(1))) as running:
        for fields in good:
            assert_intact(await running.ask(post(chat(**fields))), said(1))
        assert len(running.asked) == len(good)
        running.plays(json(completion()))
        for prompt in ("", "x", ["a", ""], [1, 2], [[1], [2]]):
            reply = await running.ask(post({"model": "m", "prompt": prompt, "max_tokens": 0}, TEXT))
            assert reply.status == 200
        reply = await running.ask(post(chat(stream=None)))
        assert reply.json() == completion()
