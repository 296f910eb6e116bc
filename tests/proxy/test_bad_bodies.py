"""Request bodies that no server should see: refused with a code, before anything is asked upstream.

Rows of the acceptance plan that are not here belong to features that do not exist yet.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import orjson
import pytest

from h2o_relay.testing.scripts import json, sse

from .kit import (
    CHAT,
    KEY,
    TEXT,
    Relay,
    assert_error,
    assert_intact,
    chat,
    completion,
    post,
    relay,
    said,
)
from .raw_client import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUTH = {"Authorization": f"Bearer {KEY}"}
QUICK = 1.0
"""Seconds for an answer on a busy machine; the plan asks for 0.05 on a quiet one."""


async def sent(relay: Relay, body: Any, target: str = CHAT) -> Reply:
    loop = asyncio.get_running_loop()
    data = post(body, target, AUTH)
    relay.upstream.requests.clear()
    start = loop.time()
    reply = await relay.ask(data)
    assert loop.time() - start < QUICK
    assert relay.asked == []
    return reply


def params_of(error: str, **fields: Any) -> Any:
    return pytest.param(fields, error, id=f"{next(iter(fields))}-{error}")


USER = {"role": "user", "content": "x"}
GOOD = orjson.dumps(chat())


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{bad", GOOD[:-1] + b",}", GOOD + GOOD, GOOD + b"x", b"[]", b"null", b'"x"',
        b"7", b"\xef\xbb\xbf" + GOOD, b"{'model':'m'}", b"{model:1}", b"{", GOOD[:-1],
    ],
)  # fmt: skip
async def test_what_is_no_json_object(guarded: Relay, body: bytes) -> None:
    reply = await sent(guarded, body)
    assert_error(reply, 400, "invalid_json", "invalid_request_error")
    assert reply.error["param"] is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","model":"x","messages":[{"role":"user","content":"hi"}]}',
        b'{"model":"m","messages":[{"role":"user","role":"system","content":"hi"}]}',
        b'{"model":"m","\\u006dodel":"x","messages":[{"role":"user","content":"hi"}]}',
    ],
)
async def test_keys_that_stand_twice(guarded: Relay, body: bytes) -> None:
    assert_error(await sent(guarded, body), 400, "invalid_json")


def nested(levels: int) -> bytes:
    """A request that is so deep, itself included."""
    inner = levels - 1
    return GOOD[:-1] + b',"extra":' + b"[" * inner + b"]" * inner + b"}"


@pytest.mark.parametrize(
    "body",
    [
        nested(65),
        nested(1023),
        nested(5000),
        nested(100_000),
        b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"messages":' + b"[" * 100_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        GOOD[:-1] + b',"extra":' + b'{"a":[' * 32 + b"]}" * 32 + b"}",
    ],
    ids=lambda body: f"{len(body)} bytes",
)
async def test_nesting(guarded: Relay, body: bytes) -> None:
    assert_error(await sent(guarded, body), 400, "nesting_too_deep")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
async def test_numbers_that_are_not_finite(guarded: Relay, number: str) -> None:
    body = GOOD[:-1] + b',"temperature":' + number.encode() + b"}"
    reply = await sent(guarded, body)
    assert_error(reply, 400, "invalid_value")
    assert reply.error["param"] == "temperature"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"\\udc00","messages":[{"role":"user","content":"x"}]}',
        b'{"\\ud800":1,"model":"m","messages":[{"role":"user","content":"x"}]}',
        b'{"model":"m","messages":[{"role":"user","content":"\\ud83d x"}]}',
        b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}',
        b'{"model":"m","messages":[{"role":"user","content":"\xed\xa0\x80"}]}',
    ],
)
async def test_text_that_is_not_unicode(guarded: Relay, body: bytes) -> None:
    assert_error(await sent(guarded, body), 400, "invalid_encoding")


@pytest.mark.parametrize(
    "name",
    ["", "x", "a,b", "../m", "m/../m", "ok\nX: y", "m\x00", "\r\nSet-Cookie: a", "<script>&", "M",
     " m", "x" * 10_240, "\u2028é"],
)  # fmt: skip
async def test_models_that_are_not_there(
    guarded: Relay, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        reply = await sent(guarded, chat(model=name))
    assert_error(reply, 404, "model_not_found", "invalid_request_error")
    assert reply.error["param"] == "model"
    message = reply.error["message"]
    assert len(message) < 250
    assert message.isprintable()
    assert not set(message) & set("<>&")
    assert "set-cookie" not in reply.headers
    assert "Set-Cookie" not in caplog.text


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        params_of("model invalid_type", model=1.5),
        params_of("model invalid_type", model=["m"]),
        params_of("messages missing_required_parameter", messages=None),
        params_of("messages invalid_type", messages="hi"),
        params_of("messages empty_array", messages=[]),
        params_of("messages[0] invalid_type", messages=["hi"]),
        params_of("messages[0].role missing_required_parameter", messages=[{"content": "x"}]),
        params_of("messages[0].role invalid_value", messages=[{"role": "root", "content": "x"}]),
        params_of("messages[0].role invalid_type", messages=[{"role": 3, "content": "x"}]),
        params_of("messages array_too_long", messages=[USER] * 10_001),
        *(
            params_of(f"messages[0].content{path} {code}", messages=[{**USER, "content": c}])
            for c, path, code in [
                (5, "", "invalid_type"),
                ({}, "", "invalid_type"),
                (True, "", "invalid_type"),
                (["x"], "[0]", "invalid_type"),
                ([{"type": "bogus"}], "[0].type", "invalid_value"),
                ([{}], "[0].type", "invalid_value"),
                ([{"type": ["text"]}], "[0].type", "invalid_value"),
                ([{"type": "text"}], "[0].text", "invalid_type"),
                ([{"type": "text", "text": "x"}, {"type": "text", "text": 1}], "[1].text",
                 "invalid_type"),
                *(
                    ([{"type": "image_url", "image_url": {"url": url}}], "[0].image_url.url",
                     "invalid_value")
                    for url in ("file:///etc/passwd", "javascript:alert(1)", "/etc/passwd",
                                "FILE:///etc/passwd", " file:///x", "ftp://host/x", "")
                ),
                ([{"type": "image_url", "image_url": "file:///etc/passwd"}], "[0].image_url.url",
                 "invalid_value"),
                ([{"type": "image_url", "image_url": {"url": 7}}], "[0].image_url.url",
                 "invalid_type"),
                ([{"type": "video_url", "video_url": {"url": "file:///x"}}], "[0].video_url.url",
                 "invalid_value"),
            ]
        ),
        *(params_of("temperature invalid_type", temperature=v) for v in ("hot", "0.5", True, {})),
        params_of("temperature below_min_value", temperature=-1),
        params_of("temperature above_max_value", temperature=3),
        params_of("top_p above_max_value", top_p=1.01),
        params_of("presence_penalty below_min_value", presence_penalty=-2.1),
        params_of("max_tokens below_min_value", max_tokens=0),
        params_of("max_tokens below_min_value", max_tokens=-5),
        *(params_of("max_tokens invalid_type", max_tokens=v) for v in (1.5, "10", False)),
        params_of("max_tokens above_max_value", max_tokens=10**12),
        params_of("max_completion_tokens below_min_value", max_completion_tokens=0),
        params_of("n below_min_value", n=0),
        params_of("n below_min_value", n=-1),
        params_of("n invalid_type", n=2.5),
        params_of("n invalid_type", n=True),
        params_of("n above_max_value", n=9),
        params_of("n above_max_value", n=129),
        params_of("n above_max_value", n=10**6),
        params_of("stream invalid_type", stream="yes"),
        params_of("stream invalid_type", stream=1),
        params_of("stream_options invalid_type", stream_options=[]),
        params_of("continue_final_message invalid_type", continue_final_message="yes"),
        params_of("stop invalid_type", stop=5),
        params_of("stop[0] invalid_value", stop=[""]),
        params_of("stop invalid_value", stop=""),
        params_of("stop[1] invalid_type", stop=["a", 1]),
        params_of("stop array_too_long", stop=["a"] * 10_000),
        params_of("stop string_too_long", stop="a" * 2**20),
        params_of("logit_bias array_too_long", logit_bias={str(k): 1 for k in range(100_001)}),
        params_of("logit_bias invalid_value", logit_bias={"a": 1}),
        params_of("logit_bias invalid_type", logit_bias={"1": "a"}),
        params_of("logit_bias invalid_type", logit_bias=[1]),
        params_of("tools array_too_long", tools=[{}] * 10_000),
        params_of("tools invalid_type", tools={}),
        params_of("tools[0] invalid_type", tools=[7]),
        params_of("seed invalid_type", seed="x"),
        params_of("user invalid_type", user=7),
        params_of("response_format invalid_type", response_format="json"),
        params_of("tool_choice invalid_type", tool_choice=1),
        params_of("top_logprobs below_min_value", top_logprobs=-1),
        params_of("logprobs invalid_type", logprobs="yes"),
    ],
)  # fmt: skip
async def test_fields_of_chats(guarded: Relay, fields: dict[str, Any], error: str) -> None:
    reply = await sent(guarded, chat(**fields))
    param, code = error.split(" ")
    assert_error(reply, 400, code, "invalid_request_error")
    assert reply.error["param"] == param


async def test_a_number_that_is_far_too_large(guarded: Relay) -> None:
    for digits in (30, 300, 400, 5000):
        reply = await sent(guarded, GOOD[:-1] + b',"n":1' + b"0" * digits + b"}")
        assert reply.status == 400
        assert reply.error["code"] in ("above_max_value", "invalid_json")


async def test_a_missing_field(guarded: Relay) -> None:
    for target, body, param in [
        (CHAT, {"model": "m"}, "messages"),
        (CHAT, {"model": "m", "prompt": "hi"}, "messages"),
        (TEXT, {"model": "m"}, "prompt"),
        (TEXT, chat(), "prompt"),
    ]:
        reply = await sent(guarded, body, target)
        assert_error(reply, 400, "missing_required_parameter")
        assert reply.error["param"] == param


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ([], "empty_array"), ([[]], "empty_array"), ([""] * 100_000, "array_too_long"),
        ([-1], "invalid_value"), ([2**63], "invalid_value"), ([[1], "a"], "invalid_type"),
        (["a", 1], "invalid_type"), ([1.5], "invalid_type"), ([True], "invalid_type"),
        ({}, "invalid_type"), (7, "invalid_type"), ([None], "invalid_type"),
        ([[1, "a"]], "invalid_type"),
    ],
)  # fmt: skip
async def test_prompts(guarded: Relay, prompt: Any, code: str) -> None:
    reply = await sent(guarded, {"model": "m", "prompt": prompt}, TEXT)
    assert_error(reply, 400, code)
    assert reply.error["param"].startswith("prompt")


async def test_what_is_at_a_limit_passes() -> None:
    """Limits are the last values that are allowed, and servers judge what is theirs to judge."""
    user = {"role": "user", "content": "x"}
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    inline = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    schema = {"type": "object", "properties": {"a": {"pattern": "(a+)+$"}}, "$ref": "#"}
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
