"""What stands before Gradio."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest

from h2o_relay_ui.front import Front, Message, Receive, Send, is_loopback_name


async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    headers = [(b"Cache-Control", b"public"), (b"x-mine", b"1")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"inside"})


async def call(
    local: bool = True, method: str = "GET", path: str = "/", **headers: str
) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": pairs}
    await Front(app, local)(scope, receive, send)
    found = {name.lower(): value for name, value in sent[0]["headers"]}
    assert len(found) == len(sent[0]["headers"])
    return sent[0]["status"], found, sent[1]["body"]


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:7860",
        "127.0.0.1:7860",
        "127.9.9.9",
        "a.localhost",
        "[::1]:7860",
        "[::1]",
    ],
)
async def test_this_machine_is_served(host: str) -> None:
    assert is_loopback_name(host)
    status, _, body = await call(host=host)
    assert (status, body) == (200, b"inside")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example:7860", "192.168.1.5", "", "[::1", "0.0.0.0:7860"],
)
async def test_other_names_are_not(host: str) -> None:
    status, headers, body = await call(host=host)
    assert status == 403
    assert b"this machine only" in body
    assert b"content-security-policy" in headers


async def test_a_page_for_the_network_answers_to_any_name() -> None:
    assert (await call(local=False, host="relay.example"))[0] == 200


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.example", "http://localhost:1", "", "http://[", "http://[x]"]
)
async def test_foreign_sites_cannot_post(origin: str) -> None:
    for local in (True, False):
        status, _, body = await call(local, "POST", host="localhost:7860", origin=origin)
        assert status == 403
        assert b"another site" in body
    assert (await call(host="localhost:7860", origin=origin))[0] == 200


async def test_the_page_itself_can_post() -> None:
    for origin in ("http://localhost:7860", "https://localhost:7860"):
        assert (await call(method="POST", host="localhost:7860", origin=origin))[0] == 200
    assert (await call(method="POST", host="localhost:7860"))[0] == 200


async def test_nothing_from_elsewhere_may_be_loaded_and_nothing_is_kept() -> None:
    _, headers, _ = await call(host="localhost")
    policy = dict(
        part.split(" ", 1) for part in headers[b"content-security-policy"].decode().split("; ")
    )
    assert policy["default-src"] == "'self'"
    assert policy["img-src"] == "'self' data: blob:"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe-eval" not in policy["script-src"]
    assert not any("http" in rule or "*" in rule for rule in policy.values())
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"referrer-policy"] == b"same-origin"
    assert headers[b"x-mine"] == b"1"


async def test_assets_may_be_kept() -> None:
    _, headers, _ = await call(host="localhost", path="/assets/index.js")
    assert headers[b"cache-control"] == b"public"
