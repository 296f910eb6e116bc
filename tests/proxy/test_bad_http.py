"""Requests that are wrong before anyone reads their JSON: framing, sizes, methods, paths, pace."""

from __future__ import annotations

import gzip

import orjson
import pytest

from h2o_relay_proxy import closing

from .kit import (
    CHAT,
    KEY,
    MODEL,
    Relay,
    assert_error,
    assert_intact,
    chat,
    get,
    post,
    relay,
    request,
    said,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUTH = {"Authorization": f"Bearer {KEY}"}
BODY = orjson.dumps(chat())


def chunked(body: bytes, **headers: str) -> bytes:
    """A request in chunked framing whose body is `body` as it stands."""
    sent = {"Content-Type": "application/json", "Transfer-Encoding": "chunked", **AUTH, **headers}
    return request("POST", CHAT, sent) + body


async def refused(relay: Relay, data: bytes, status: int, code: str, ends: bool = True) -> None:
    """The request is refused, the connection closed, and nothing reaches the upstream."""
    async with relay.client() as client:
        await client.send(data)
        reply = await client.reply()
        assert_error(reply, status, code, "invalid_request_error")
        assert reply.error["param"] is None
        if ends:
            assert reply.headers["connection"] == "close"
            assert await client.ended() == b""
    assert relay.asked == []


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50,
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"GET / HTTP/1.1 x\r\n\r\n",
        b"BREW / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /health HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /health HTTP/1.1\r\nA\x00: b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nA: b\x00c\r\n\r\n",
        b"GET /health HTTP/1.1\r\nA: b\x07c\r\n\r\n",
        b"GET /health HTTP/1.1\r\nA : b\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\xc3\xa9: b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nA: b\rX: c\r\n\r\n",
        b"POST /health HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"POST /health HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /health HTTP/1.1\r\nContent-Length: 1a\r\n\r\n",
        b"POST /health HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /health HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /health HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_not_http(guarded: Relay, data: bytes) -> None:
    await refused(guarded, data, 400, "invalid_http")


async def test_header_values(guarded: Relay) -> None:
    await refused(guarded, get("/health", A="é"), 400, "invalid_header")
    data = get("/health").replace(b"\r\n\r\n", "\r\nA: 日本\r\n\r\n".encode())
    await refused(guarded, data, 400, "invalid_header")


@pytest.mark.parametrize("target", ["http://", "http://h:x/", "//", "http://[", "?a", "h:80"])
async def test_targets_that_are_no_urls(guarded: Relay, target: str) -> None:
    async with guarded.client() as client:
        await client.send(get(target))
        reply = await client.reply()
        assert reply.status in (400, 401)
        assert reply.headers["x-request-id"]
        assert reply.error["code"] in ("invalid_url", "invalid_http", "missing_api_key")


@pytest.mark.parametrize(
    "body",
    [
        b"FFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n",
        b"FFFFFFFFFFFFFFFFF\r\n",
        b"-1\r\n",
        b"x\r\n",
        b"5 5\r\nhello\r\n",
        b"2\r\n{}X\r\n0\r\n\r\n",
    ],
)
async def test_chunks(guarded: Relay, body: bytes) -> None:
    if body.startswith(b"F" * 16 + b"\r"):  # a length that exists, if no memory of that size does
        data, status, code = chunked(body), 408, "request_timeout"
    else:
        data, status, code = chunked(body), 400, "invalid_http"
    await refused(guarded, data, status, code)


async def test_a_chunk_extension_has_bounds(guarded: Relay) -> None:
    async with guarded.client() as client:
        await client.send(chunked(b"2;" + b"x" * 2**20))
        reply = await client.reply()
        assert reply.status in (400, 408, 413)
        assert await client.ended() == b""


async def test_a_length_that_is_too_small(guarded: Relay) -> None:
    data = post(BODY, headers={**AUTH, "Content-Length": str(len(BODY) - 5)})
    async with guarded.client() as client:
        await client.send(data)
        assert_error(await client.reply(), 400, "invalid_json")
        assert_error(await client.reply(), 400, "invalid_http")
        assert await client.ended() == b""
    assert guarded.asked == []


async def test_a_body_that_is_cut(guarded: Relay, caplog: pytest.LogCaptureFixture) -> None:
    async with guarded.client() as client:
        await client.send(post(BODY, headers=AUTH)[:-5])
        client.writer.write_eof()
        assert await client.ended() == b""
    assert guarded.asked == []
    assert caplog.records == []


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Encoding": "gzip"}, gzip.compress(BODY, mtime=0)),
        ({"Content-Encoding": "br"}, BODY),
        ({"Content-Encoding": "identity, gzip"}, BODY),
        ({"Content-Type": "text/plain"}, BODY),
        ({"Content-Type": ""}, BODY),
        ({"Content-Type": "application/x-www-form-urlencoded"}, BODY),
        ({"Content-Type": "application/jsonx"}, BODY),
    ],
)
async def test_media_types(guarded: Relay, headers: dict[str, str], body: bytes) -> None:
    data = post(body, headers={**AUTH, **headers})
    await refused(guarded, data, 415, "unsupported_media_type")


LIMIT = 64 * 1024


async def test_body_sizes() -> None:
    padding = LIMIT - len(orjson.dumps(chat(pad="")))
    fits, over = (orjson.dumps(chat(pad="x" * n)) for n in (padding, padding + 1))
    assert len(fits) == LIMIT
    sent = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    head = request("POST", CHAT, sent)
    async with relay(max_body=LIMIT) as running:
        for data in (post(fits), head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(fits), fits)):
            running.upstream.requests.clear()
            assert_intact(await running.ask(data), said(3))
        running.upstream.requests.clear()
        for data in (post(over), head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(over), over)):
            await refused(running, data, 413, "request_too_large")


async def test_a_large_body_is_refused_before_it_is_read(guarded: Relay) -> None:
    head = request("POST", CHAT, {**AUTH, "Content-Type": "application/json",
                                  "Content-Length": str(20 * 2**20)})  # fmt: skip
    await refused(guarded, head, 413, "request_too_large")
    await refused(guarded, head + b"x" * 1000, 413, "request_too_large")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        (AUTH, 413, "request_too_large"),
        ({}, 401, "missing_api_key"),
        ({**AUTH, "Content-Type": "text/plain"}, 415, "unsupported_media_type"),
    ],
)
async def test_who_sends_on_after_a_refusal_can_still_read_it(
    guarded: Relay, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], status: int,
    code: str,
) -> None:  # fmt: skip
    """A socket that is closed with unread data in it resets its peer (RFC 9112, 9.6)."""
    monkeypatch.setattr(closing, "LINGER", 30.0)  # 20 MiB take a busy machine a while
    large = 20 * 2**20
    sent = {"Content-Type": "application/json", "Content-Length": str(large), **headers}
    async with guarded.client() as client:
        client.writer.write(request("POST", CHAT, sent))
        for _ in range(large // 2**20):
            client.writer.write(b"x" * 2**20)
            await client.writer.drain()
        assert_error(await client.reply(), status, code)
        assert await client.ended() == b""


async def test_sizes_of_heads(guarded: Relay) -> None:
    many = {f"x-{n}": "y" for n in range(101)}
    await refused(guarded, get("/health", **many), 431, "headers_too_large")
    for size in (65 * 1024, 2**20):
        await refused(guarded, get("/health", big="x" * size), 431, "headers_too_large")
        await refused(guarded, get("/health", **{"x" * size: "y"}), 431, "headers_too_large")
    spread = {f"x-{n}": "y" * 1000 for n in range(70)}
    await refused(guarded, get("/health", **spread), 431, "headers_too_large")
    for size in (17 * 1024, 64 * 1024, 2**20):
        await refused(guarded, get("/" + "x" * size), 414, "uri_too_long")
    some = {f"x-{n}": "y" * 600 for n in range(99)}
    assert (await guarded.ask(get("/health", **some))).status == 200
    assert (await guarded.ask(get("/health?" + "x" * 16_000))).status == 200


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", CHAT, "POST"), ("HEAD", CHAT, "POST"), ("PUT", CHAT, "POST"),
        ("OPTIONS", CHAT, "POST"), ("DELETE", "/v1/completions", "POST"),
        ("POST", "/v1/models", "GET, HEAD"), ("PATCH", "/v1/models", "GET, HEAD"),
        ("DELETE", f"/v1/models/{MODEL}", "GET, HEAD"), ("POST", "/health", "GET, HEAD"),
        ("TRACE", "/readyz", "GET, HEAD"), ("GET", "/v1/embeddings", "POST"),
        ("GET", "/v1/audio/speech", "POST"), ("DELETE", "/v1/images/generations", "POST"),
        ("GET", "/v1/responses", "POST"), ("PUT", "/openapi.json", "GET, HEAD"),
    ],
)  # fmt: skip
async def test_methods(guarded: Relay, method: str, path: str, allow: str) -> None:
    reply = await guarded.ask(request(method, path, AUTH))
    assert reply.status == 405
    assert reply.headers["allow"] == allow
    assert "access-control-allow-origin" not in reply.headers
    if method != "HEAD":
        assert_error(reply, 405, "method_not_allowed", "invalid_request_error")


PATHS = [
    "/", "/v1", "/v1/", "/v1/nope", "/v1/chat", "/v1/chat/completions/", "/v1/Models", "/V1/models",
    "//v1/models", "/v1//models", "/v1/models/", "/v1/../v1/models", "/v1/./models", "/v1/%6dodels",
    "/v1/%2e%2e/admin", "/v1/models;a=b", "/v1/models%00", "/v1/models%20", "/v1/models%2f",
    "/v1/chat%2fcompletions", "/invocations", "/metrics", "/docs", "/openapi.yaml", "/admin",
    "/health/", "/readyz/", "/Health", "/%68ealth", "/health%00", "/.env", "/v1/\\models", "*",
]  # fmt: skip
OFFERED = frozenset({"/v1/nope", "/v1/chat", "/v1/Models"})
"""What vLLM may have: a POST is refused for its missing body only."""


@pytest.mark.parametrize("path", PATHS)
async def test_paths_are_exact(guarded: Relay, path: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        if method == "OPTIONS" or path != "*":
            data = request(method, path, AUTH)
            offered = method == "POST" and path in OFFERED
            status, code = (415, "unsupported_media_type") if offered else (404, "unknown_url")
            assert_error(await guarded.ask(data), status, code, "invalid_request_error")
            reply = await guarded.ask(request(method, path))
            assert_error(reply, 401, "missing_api_key")


async def test_absolute_targets_and_queries(guarded: Relay) -> None:
    for target in ("http://other.example/v1/models", "/v1/models?a=/v1/../x", "/v1/models?"):
        reply = await guarded.ask(get(target, **AUTH))
        assert reply.json()["data"][0]["id"] == MODEL
        assert_error(await guarded.ask(get(target)), 401, "missing_api_key")
