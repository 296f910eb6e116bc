"""Who may ask, from where: web pages of others, host names, https, and what stands in front."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import trustme

from h2o_relay import settings
from h2o_relay.hosts import host_allowed, is_for_this_machine
from h2o_relay.settings import SettingError, Settings
from h2o_relay.testing.scripts import sse
from h2o_relay.testing.settings import quick
from h2o_relay_proxy.app import create_app
from h2o_relay_proxy.listening import running
from h2o_relay_proxy.ports import address, bind, inner_socket
from h2o_relay_proxy.root_path import below
from h2o_relay_proxy.server import serve
from h2o_relay_proxy.tls import check_tls, server_context
from h2o_relay_ui.app import cors
from h2o_relay_ui.front import Front

from ..proxy.kit import (
    CHAT,
    KEY,
    assert_error,
    assert_intact,
    chat,
    get,
    post,
    relay,
    request,
    said,
)
from ..proxy.raw_client import Reply

SITE = "https://app.example.com"
EVIL = "https://evil.example"
NAMES = ("access-control-allow-origin", "access-control-allow-credentials")
AUTH = {"Authorization": f"Bearer {KEY}"}


def preflight(origin: str = SITE, target: str = CHAT, **headers: str) -> bytes:
    asks = {"Origin": origin, "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type", **headers}  # fmt: skip
    return request("OPTIONS", target, asks)


def told(reply: Reply) -> list[str | None]:
    return [reply.headers.get(name) for name in NAMES]


async def test_s13_no_page_may_read_anything_by_default() -> None:
    async with relay(api_key=KEY) as running_:
        for origin in (SITE, "null", "http://127.0.0.1:5000"):
            reply = await running_.ask(preflight(origin))
            assert_error(reply, 403, "origin_not_allowed")
            assert "--cors-origins" in reply.error["message"]
            assert told(reply) == [None, None]
            for data in (get("/v1/models", Origin=origin, **AUTH), get("/health", Origin=origin),
                         post(chat(), headers={"Origin": origin, **AUTH}),
                         get("/nope", Origin=origin)):  # fmt: skip
                assert told(await running_.ask(data)) == [None, None]


async def test_s13_a_page_that_is_named_may() -> None:
    async with relay(sse(said(2)), api_key=KEY, cors_origins=f"{SITE}, http://other:1") as running_:
        reply = await running_.ask(preflight())
        assert (reply.status, reply.body) == (200, b"")
        assert told(reply) == [SITE, None]
        assert reply.headers["access-control-allow-headers"] == "authorization,content-type"
        assert "POST" in reply.headers["access-control-allow-methods"]
        assert reply.headers["vary"] == "origin"
        reply = await running_.ask(post(chat(), headers={"Origin": SITE, **AUTH}))
        assert_intact(reply, said(2))
        assert told(reply) == [SITE, None]
        assert "x-request-id" in reply.headers["access-control-expose-headers"]
        reply = await running_.ask(post(chat(), headers={"Origin": SITE}))
        assert_error(reply, 401, "missing_api_key")  # a page can read why
        assert told(reply) == [SITE, None]
        for other in (
            EVIL,
            "null",
            SITE + ".evil.example",
            SITE + ":8443",
            "http://app.example.com",
        ):
            assert_error(await running_.ask(preflight(other)), 403, "origin_not_allowed")
            assert told(await running_.ask(get("/health", Origin=other))) == [None, None]


async def test_s13_any_page_may_without_credentials() -> None:
    async with relay(cors_origins="*") as running_:
        for data in (preflight(EVIL), get("/v1/models", Origin=EVIL)):
            assert told(await running_.ask(data)) == ["*", None]
        plain = request("OPTIONS", CHAT, {"Origin": EVIL})
        assert_error(await running_.ask(plain), 405, "method_not_allowed")


async def test_s13_a_refusal_is_in_the_log_once(caplog: pytest.LogCaptureFixture) -> None:
    async with relay() as running_:
        for _ in range(3):
            await running_.ask(preflight(EVIL))
    assert caplog.text.count("--cors-origins") == 1


@pytest.mark.parametrize("text", [
    "null", "app.example.com", "https://app.example.com/path", "ftp://a", "https://u@a",
    "https://", "https://a:99999", "https://*.example.com", "https://a b",
])  # fmt: skip
def test_s13_what_is_no_origin(text: str) -> None:
    with pytest.raises(SettingError, match="--cors-origins"):
        settings.load({"cors_origins": text}, {})


@pytest.mark.parametrize("text", ["*", SITE, f" {SITE}/ , http://a:1,", ""])
def test_s13_what_is_one(text: str) -> None:
    assert settings.load({"cors_origins": text}, {}).cors_origins == text


@pytest.mark.parametrize(("text", "credentials"), [("", None), (SITE, True), ("*", False),
                                                   (f"{SITE},*", False)])  # fmt: skip
def test_s13_the_pages_sign_in_goes_along_for_named_origins_alone(
    text: str, credentials: bool | None
) -> None:
    made = cors(Settings(cors_origins=text))
    assert made.get("allow_credentials") is credentials
    assert not ("*" in made["allow_origins"] and made.get("allow_credentials"))


async def through(front: Front, method: str = "GET", path: str = "/", **headers: str) -> Any:
    """Status, and what the application behind it was called with."""
    seen: list[Any] = []
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(),
             "headers": [(k.encode(), v.encode()) for k, v in headers.items()]}  # fmt: skip
    front._app = lambda scope, receive, send: answered(scope, send, seen)
    await front(scope, lambda: asyncio.sleep(0), send)  # type: ignore[arg-type, return-value]
    body = b"".join(message.get("body", b"") for message in sent).decode()
    return sent[0]["status"], seen, body


async def answered(scope: Any, send: Any, seen: list[Any]) -> None:
    seen.append(scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def front(local: bool = True, **changes: Any) -> Front:
    return Front(None, local, Settings(**changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("origin", [EVIL, "null", "http://localhost:1"])
async def test_s14_pages_of_others_change_nothing(origin: str) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        status, seen, body = await through(front(), method, host="localhost:7860", origin=origin)
        assert (status, seen) == (403, [])
        assert "--cors-origins" in body
    named = front(cors_origins=SITE)
    assert (await through(named, "POST", host="localhost", origin=SITE))[0] == 200
    assert (await through(named, "POST", host="localhost", origin=origin))[0] == 403


async def test_s15_names_of_others_are_refused_and_the_flag_is_named() -> None:
    async with relay() as running_:
        reply = await running_.ask(get("/v1/models", Host="evil.example"))
        assert_error(reply, 403, "host_not_allowed")
        assert "--allowed-hosts" in reply.error["message"]
    status, seen, body = await through(front(), host="evil.example")
    assert (status, seen) == (403, [])
    assert "--allowed-hosts" in body


@pytest.mark.parametrize(("host", "good"), [
    ("chat.example.com", True), ("CHAT.example.com.:7860", True), ("localhost", True),
    ("[::1]:7860", True), ("evil.example", False), ("chat.example.com.evil.example", False),
    ("evil.example:chat.example.com", False),
])  # fmt: skip
async def test_s15_names_that_are_allowed_hold_for_api_and_page(host: str, good: bool) -> None:
    names = "chat.example.com, other.example"
    assert host_allowed(host, Settings(allowed_hosts=names)) is good
    assert (await through(front(allowed_hosts=names), host=host))[0] == (200 if good else 403)


def test_s15_the_bound_address_is_a_name_of_the_relay() -> None:
    assert host_allowed("127.0.0.2:5000", Settings(host="127.0.0.2"))
    assert not host_allowed("10.0.0.1", Settings())
    assert is_for_this_machine(Settings())
    assert not is_for_this_machine(Settings(allowed_hosts="chat.example.com"))


async def test_s16_a_link_or_a_form_changes_nothing() -> None:
    """What a page of others can send without asking: a GET, or a POST that is no JSON."""
    async with relay() as running_:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            data = post(orjson.dumps(chat()), headers={"Content-Type": kind})
            assert_error(await running_.ask(data), 415, "unsupported_media_type")
        reply = await running_.ask(get(f"{CHAT}?model=m&messages=hi"))
        assert_error(reply, 405, "method_not_allowed")
        assert running_.asked == []


# A prefix.


@pytest.mark.parametrize(("path", "is_"), [
    (b"/relay/v1/models", b"/v1/models"), (b"/v1/models", b"/v1/models"), (b"/relay", b"/"),
    (b"/relay/", b"/"), (b"/relayed/v1", b"/relayed/v1"), (b"/", b"/"),
    (b"/relay/relay/v1", b"/relay/v1"),
])  # fmt: skip
def test_the_prefix_is_taken_off_once(path: bytes, is_: bytes) -> None:
    assert below(b"/relay", path) == is_
    assert below(b"", path) == path


async def test_below_a_prefix_keys_are_needed_too() -> None:
    async with relay(api_key=KEY, root_path="/a/relay/", admin_pass="pass") as running_:
        for prefix in ("", "/a/relay"):
            assert (await running_.ask(get(f"{prefix}/health"))).status == 200
            assert (await running_.ask(get(f"{prefix}/v1/models", **AUTH))).status == 200
            for path in ("/v1/models", "/openapi.json", "/admin/system", "/nope"):
                assert (await running_.ask(get(f"{prefix}{path}"))).status == 401, path
        assert (await running_.ask(get("/a/relay/a/relay/health"))).status == 401


async def test_the_page_knows_its_prefix() -> None:
    page = front(root_path="/relay")
    for path, is_ in (("/relay/config", "/config"), ("/config", "/config"), ("/relay", "/"),
                      ("/relayed", "/relayed")):  # fmt: skip
        assert (await through(page, path=path, host="localhost"))[1] == [is_]


@pytest.mark.parametrize("text", ["relay", "https://a/relay", "/a b", "/a?b", "//a", "/a//b", "/"])
def test_what_is_no_prefix(text: str) -> None:
    with pytest.raises(SettingError, match="--root-path"):
        settings.load({"root_path": text}, {})


# https.


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ca.pem`, `both.pem` with certificate and key, `cert.pem`, `key.pem`, `other.pem`."""
    folder = tmp_path_factory.mktemp("papers")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    own, other = (
        authority.issue_cert("relay.example", "127.0.0.1"),
        authority.issue_cert("x.example"),
    )
    own.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    own.private_key_pem.write_to_path(folder / "key.pem")
    other.private_key_pem.write_to_path(folder / "other.pem")
    for blob in own.cert_chain_pems:
        blob.write_to_path(folder / "cert.pem", append=True)
    (folder / "text.pem").write_text("no certificate")
    return folder


def tls(papers: Path, certificate: str | None, key: str | None = None, **more: Any) -> Settings:
    paths = [str(papers / name) if name else None for name in (certificate, key)]
    return quick(ssl_certfile=paths[0], ssl_keyfile=paths[1], **more)


async def test_https_and_nothing_else(papers: Path) -> None:
    from h2o_relay.kernel import Kernel

    for names in (("both.pem", None), ("cert.pem", "key.pem")):
        own = tls(papers, *names)
        async with Kernel(own, []) as kernel:
            sock, inner = bind("127.0.0.1", 0), inner_socket(own)
            assert inner is not None
            assert inner.getsockname()[0] == "127.0.0.1"
            context = ssl.create_default_context(cafile=str(papers / "ca.pem"))
            near = address(inner)
            async with running(create_app(kernel, own), own, sock, inner):
                url = address(sock, secure=True)
                assert url.startswith("https://127.0.0.1:")
                async with httpx.AsyncClient(verify=context, trust_env=False) as client:
                    assert (await client.get(f"{url}/health")).json()["status"] == "ok"
                    assert (await client.get(f"{near}/health")).json()["status"] == "ok"
                    with pytest.raises(httpx.HTTPError):
                        await client.get(url.replace("https", "http") + "/health")
    assert inner_socket(quick()) is None
    assert server_context(quick()) is None
    made = server_context(tls(papers, "both.pem"))
    assert made is not None
    assert made.minimum_version == ssl.TLSVersion.TLSv1_2


async def test_a_stream_over_https(papers: Path) -> None:
    changes = {"ssl_certfile": str(papers / "both.pem"), "api_key": KEY}
    context = ssl.create_default_context(cafile=str(papers / "ca.pem"))
    async with relay(sse(said(40)), **changes) as running_:
        url = f"https://127.0.0.1:{running_.port}{CHAT}"
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            for _ in range(2):
                reply = await client.post(url, json=chat(), headers=AUTH)
                assert reply.text.count("data: ") == 42
            async with client.stream("POST", url, json=chat(), headers=AUTH) as stream:
                async for _ in stream.aiter_bytes():
                    break
        await running_.calm(5)


@pytest.mark.parametrize(("certificate", "key", "flag"), [
    ("gone.pem", None, "--ssl-certfile: cannot read"), ("cert.pem", None, "--ssl-keyfile"),
    ("cert.pem", "gone.pem", "--ssl-keyfile: cannot read"), ("text.pem", None, "--ssl-certfile"),
    ("cert.pem", "other.pem", "--ssl-keyfile: the key is not the one"),
    ("cert.pem", "text.pem", "--ssl-keyfile"), (None, "key.pem", "--ssl-certfile too"),
])  # fmt: skip
def test_papers_that_are_not_in_order(
    papers: Path, certificate: str | None, key: str | None, flag: str
) -> None:
    with pytest.raises(SettingError) as caught:
        check_tls(tls(papers, certificate, key))
    assert flag in str(caught.value)
    with pytest.raises(SettingError):
        serve(tls(papers, certificate, key, ui=False, openai_port=0), [])
