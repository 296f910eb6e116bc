"""What a request may say, how much of it there may be, and what is passed on."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import orjson
import pytest

from h2o_relay.errors import UpstreamResponseTooLarge
from h2o_relay.settings import Settings, default
from h2o_relay.spec import ServerSpec
from h2o_relay.testing.scripts import json, sse
from h2o_relay.types import Tuning
from h2o_relay_proxy import body, checks, fields, framing
from h2o_relay_proxy.openapi import document
from h2o_relay_proxy.steering import RENDERING, STEERING

from ..proxy.kit import (
    CHAT,
    KEY,
    MODEL,
    TEXT,
    assert_error,
    chat,
    completion,
    get,
    post,
    relay,
    request,
    said,
)

AUTH = {"Authorization": f"Bearer {KEY}"}
USER = {"role": "user", "content": "x"}
BODIES = {
    CHAT: {"model": MODEL, "messages": [USER]},
    TEXT: {"model": MODEL, "prompt": "x"},
    "/v1/embeddings": {"model": MODEL, "input": "x"},
    "/v1/responses": {"model": MODEL, "input": "x"},
    "/v1/messages": {"model": MODEL, "messages": [USER], "max_tokens": 5},
    "/v1/tokenize": {"model": MODEL, "prompt": "x"},
}
OPEN = ("/health", "/readyz")


async def test_s06_every_path_but_health_needs_the_key() -> None:
    """Walks all that the API says it has; /admin has a key of its own."""
    paths: dict[str, Any] = document()["paths"]
    assert len(paths) > 25
    async with relay(api_key=KEY, admin_pass="other") as running:
        running.upstream.requests.clear()
        for path, methods in paths.items():
            target = re.sub(r"\{\w+\}", "x", path)
            for method in (name.upper() for name in methods if name != "parameters"):
                reply = await running.ask(request(method, target, {}, b"{}" * (method == "POST")))
                assert (reply.status == 401) != (path in OPEN), (method, target, reply.status)
        for other in (
            "/",
            "/metrics",
            "/docs",
            "/redoc",
            "/v1",
            "/v1/",
            "/v2/models",
            "/favicon.ico",
        ):
            assert (await running.ask(get(other))).status == 401, other
        assert running.asked == []


async def test_s42_what_tells_of_the_inside_is_behind_the_key_or_not_there() -> None:
    async with relay(api_key=KEY) as running:
        for path in ("/docs", "/redoc", "/debug", "/debug/pprof", "/server_info", "/metrics",
                     "/openapi.json", "/v1/internal", "/invocations"):  # fmt: skip
            assert_error(await running.ask(get(path)), 401, "missing_api_key")
        for path in ("/docs", "/redoc", "/debug", "/debug/pprof", "/server_info", "/invocations"):
            assert_error(await running.ask(get(path, **AUTH)), 404, "unknown_url")


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("name", sorted(STEERING))
async def test_s24_no_field_steers_host_key_or_template(name: str, path: str) -> None:
    """B33: a field that is there and says nothing is one that is not there."""
    async with relay(sse(said(1))) as running:
        reply = await running.ask(post({**BODIES[path], name: "http://evil.example"}, path))
        assert reply.status == 400
        assert name in reply.json()["error"]["message"]
        assert running.asked == []


@pytest.mark.parametrize("name", sorted(RENDERING))
async def test_s24_nor_do_the_arguments_of_a_template(name: str) -> None:
    async with relay(json(completion())) as running:
        asked = chat(stream=False, chat_template_kwargs={name: "x"})
        reply = await running.ask(post(asked))
        assert_error(reply, 400, "unsupported_parameter")
        assert reply.error["param"] == f"chat_template_kwargs.{name}"
        assert running.asked == []
        good = chat(stream=False, chat_template_kwargs={"enable_thinking": False}, api_base=None)
        assert (await running.ask(post(good))).status == 200
        assert orjson.loads(running.asked[0].body)["chat_template_kwargs"] == {
            "enable_thinking": False
        }


async def test_s31_every_answer_says_how_it_is_to_be_taken() -> None:
    async with relay(sse(said(1)), api_key=KEY) as running:
        for data in (get("/health"), get("/v1/models"), get("/v1/models", **AUTH), get("/nope"),
                     post(chat(), headers=AUTH), b"\x16\x03\x01 no http\r\n\r\n"):  # fmt: skip
            reply = await running.ask(data)
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["cache-control"] == "no-store"
            assert "server" not in reply.headers


async def test_s34_what_fails_inside_is_not_told() -> None:
    async with relay() as running:

        def broken(name: object) -> None:
            raise ValueError("canary /etc/secret")

        running.kernel.models = broken  # type: ignore[assignment, method-assign]
        reply = await running.ask(get("/v1/models"))
        assert_error(reply, 500, "internal_error")
        assert reply.headers["x-request-id"] in reply.error["message"]
        assert b"canary" not in reply.body
        assert b"Traceback" not in reply.body


LIMITS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "depth": ({"x": orjson.Fragment(b"[" * 63 + b"]" * 63)},
              {"x": orjson.Fragment(b"[" * 64 + b"]" * 64)}),
    "n": ({"n": 8}, {"n": 9}),
    "messages": ({"messages": [USER] * 10_000}, {"messages": [USER] * 10_001}),
    "tools": ({"tools": [{}] * 512}, {"tools": [{}] * 513}),
    "stop": ({"stop": ["a"] * 256}, {"stop": ["a"] * 257}),
    "stop strings": ({"stop": "a" * 4096}, {"stop": "a" * 4097}),
    "token ids": ({"logit_bias": {str(k): 1 for k in range(100_000)}},
                  {"logit_bias": {str(k): 1 for k in range(100_001)}}),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
async def test_s37_at_the_limit_and_one_more(name: str) -> None:
    at, over = LIMITS[name]
    async with relay(json(completion())) as running:
        assert (await running.ask(post(chat(stream=False, **at)))).status == 200
        assert (await running.ask(post(chat(stream=False, **over)))).status == 400
        assert len(running.asked) == 1


def test_s37_the_limits_are_those_of_the_plan() -> None:
    assert default("max_body") == 16 * 2**20
    assert default("max_event") == 4 * 2**20
    assert framing.HEAD_LIMIT == 64 * 1024
    assert (body.DEPTH, checks.MAX_CHOICES) == (64, 8)
    assert (fields.MAX_MESSAGES, fields.MAX_TOOLS) == (10_000, 512)
    from h2o_relay_ui.app import LARGEST_FILE

    assert Settings(max_body=2**20).max_body == 2**20
    assert LARGEST_FILE == "16mb"  # the plan allows 32


def padded(size: int) -> bytes:
    """A good request of so many bytes."""
    empty = orjson.dumps(chat(stream=False, user=""))
    return orjson.dumps(chat(stream=False, user="x" * (size - len(empty))))


async def test_s37_bodies_at_the_limit_and_one_more() -> None:
    async with relay(json(completion()), max_body=100_000) as running:
        assert (await running.ask(post(padded(100_000)))).status == 200
        assert_error(await running.ask(post(padded(100_001))), 413, "request_too_large")
        assert len(running.asked) == 1


async def test_s37_headers_at_the_limit_and_one_more() -> None:
    async with relay() as running:
        for count, status in ((100, 200), (101, 431)):
            more = {f"x-{number}": "a" for number in range(count - 1)}
            assert (await running.ask(request("GET", "/health", more))).status == status
        bare = request("GET", "/health", {"x-long": ""})
        whole = request("GET", "/health", {"x-long": "a" * (64 * 1024 - len(bare))})
        assert len(whole) == 64 * 1024
        assert (await running.ask(whole)).status == 200
        said_ = len("x-long") + len("host") + len("127.0.0.1")  # what counts: names and values
        over = request("GET", "/health", {"x-long": "a" * (64 * 1024 - said_ + 1)})
        assert_error(await running.ask(over), 431, "headers_too_large")


async def test_s37_answers_at_the_limit_and_one_more() -> None:
    size = len(orjson.dumps(completion("")))
    for more, status in ((0, 200), (1, 502)):
        text = "x" * (10_000 - size + more)
        async with relay(json(completion(text)), max_event=10_000) as running:
            reply = await running.ask(post(chat(stream=False)))
            assert reply.status == status
            if more:
                assert reply.error["code"] == UpstreamResponseTooLarge.code


async def test_s38_limits_act_before_the_body_is_there() -> None:
    """A body that is announced too large, or that comes from nobody, is refused without it."""
    async with relay(api_key=KEY, max_body=2**20) as running:
        for headers, status in (
            ({**AUTH, "Content-Length": str(2**20 + 1)}, 413),
            ({"Content-Length": str(2**30)}, 401),
            ({"Authorization": "Bearer wrong", "Transfer-Encoding": "chunked"}, 401),
            ({**AUTH, "Content-Type": "text/plain", "Content-Length": "999999"}, 415),
        ):
            async with running.client() as client:
                async with asyncio.timeout(10):
                    await client.send(request("POST", CHAT, {"Content-Type": "application/json",
                                                             **headers}))  # fmt: skip
                    reply = await client.reply()
                assert reply.status == status, headers
                assert reply.headers["connection"] == "close"


async def test_s44_what_is_the_callers_own_stays_here() -> None:
    sent = {
        **AUTH, "Cookie": "a=canary", "X-Forwarded-For": "canary", "Forwarded": "for=canary",
        "X-Real-IP": "canary", "Proxy-Authorization": "Basic canary", "TE": "trailers",
        "Keep-Alive": "canary", "X-Api-Key": KEY, "Referer": "http://canary", "Origin": "http://c",
        "User-Agent": "canary", "X-Anything": "canary", "Via": "canary", "Sec-Fetch-Site": "canary",
    }  # fmt: skip
    upstream = json(completion(), headers={"set-cookie": "canary=1", "x-leak": "canary",
                                           "server": "canary", "via": "canary", "alt-svc": "canary",
                                           "access-control-allow-origin": "*"})  # fmt: skip
    async with relay(upstream, api_key=KEY) as running:
        for path in (CHAT, "/v1/embeddings"):
            running.upstream.requests.clear()
            reply = await running.ask(post(BODIES[path], path, sent))
            assert reply.status == 200
            [asked] = running.asked
            assert "canary" not in str(asked.headers)
            assert KEY not in str(asked.headers)
            assert not {"cookie", "origin", "referer", "te", "keep-alive"} & set(asked.headers)
            assert "canary" not in str(reply.headers)
            assert "access-control-allow-origin" not in reply.headers


def test_s45_nothing_switches_the_verification_of_servers_off() -> None:
    """There is no such setting; a certificate of one's own is trusted by `ca_file`."""
    from dataclasses import fields as every

    names = {item.name for item in every(Settings)}
    assert not {name for name in names if re.search("verify|insecure|skip_tls", name)}
    assert "ca_file" in names


async def test_s50_system_prompts_are_told_to_nobody() -> None:
    told = Tuning(system_prompt="canary prompt")
    server = ServerSpec(server="vllm_chat:{url}/v1", base_model=MODEL, tuning=told)
    async with relay(json(completion()), servers=[server], api_key=KEY) as running:
        for path in ("/v1/models", f"/v1/models/{MODEL}", "/health", "/readyz", "/openapi.json"):
            assert b"canary" not in (await running.ask(get(path, **AUTH))).body
        reply = await running.ask(post(chat(stream=False), headers=AUTH))
        assert reply.status == 200
        assert b"canary" in running.asked[0].body
        assert b"canary" not in reply.body
        assert "canary" not in str(reply.headers)
