"""What stands before Gradio: who passes, the page of sign-in, cookies, and signing out."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from h2o_relay.errors import StoreError
from h2o_relay.settings import SettingError
from h2o_relay.store import Accounts, Store, passwords
from h2o_relay.testing.settings import quick
from h2o_relay_ui.context import User
from h2o_relay_ui.front import Front
from h2o_relay_ui.signin import SignIn
from h2o_relay_ui.signin.desk import NO_GUESTS, WRONG, WRONG_KEY
from h2o_relay_ui.signin.gate import SESSION

PW, KEY = "pw-canary-1", "sk-canary-2"
PAIRS = f"[('boss', '{PW}')]"
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "N", 2**4)


class Inside:
    """The application behind: it tells whose request it got."""

    def __init__(self) -> None:
        self.sign_in: SignIn | None = None
        self.paths: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert self.sign_in is not None
        self.paths.append(scope["path"])
        request = SimpleNamespace(scope=scope, session_hash="page-1")
        user = self.sign_in.user(request)
        told = {"owner": user.owner, "name": user.name, "guest": user.guest,
                "chat": self.sign_in.may_chat(request)}  # fmt: skip
        body = json.dumps(told).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


class Site:
    """A page, with a browser and a program that call it."""

    def __init__(self, app: Any, inside: Inside, sign_in: SignIn, base: str) -> None:
        self.app, self.inside, self.sign_in, self.base = app, inside, sign_in, base

    def browser(self, address: str = "10.0.0.9", **headers: str) -> httpx.AsyncClient:
        return self._client(address, {**BROWSER, **headers})

    def program(self, address: str = "10.0.0.9", **headers: str) -> httpx.AsyncClient:
        return self._client(address, headers)

    def _client(self, address: str, headers: dict[str, str]) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, client=(address, 5))
        return httpx.AsyncClient(transport=transport, base_url=self.base, headers=headers)


@contextlib.asynccontextmanager
async def site(
    tmp_path: Path, *, local: bool = True, base: str = "http://localhost:7860", relay: Any = None,
    **changes: Any,
) -> AsyncIterator[Site]:  # fmt: skip
    sign_in = SignIn(quick(save_dir=str(tmp_path), **changes), local=local)
    inside = Inside()
    inside.sign_in = sign_in
    async with (
        Store(f"sqlite:///{tmp_path / 'relay.db'}") as store,
        sign_in.opened(Accounts(store), relay=relay),
    ):
        yield Site(Front(sign_in.wrap(inside), local), inside, sign_in, base)


async def whose(client: httpx.AsyncClient, path: str = "/gradio_api/info") -> Any:
    response = await client.get(path)
    return response.json() if response.status_code == 200 else response.status_code


async def signed_in(client: httpx.AsyncClient, name: str = "ann", password: str = PW) -> Any:
    response = await client.post("/login", data={"username": name, "password": password})
    assert response.status_code == 303, response.text
    return await whose(client)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_where_nobody_signs_in_everything_passes(tmp_path: Path) -> None:
    async with site(tmp_path) as at, at.browser() as client:
        told = {"owner": "local", "name": "", "guest": False, "chat": True}
        assert await whose(client) == await whose(client, "/") == told
        response = await client.get("/")
        assert "set-cookie" not in response.headers
        assert (await client.get("/login")).headers["location"] == "./"
        response = await client.post("/login", data={"username": "a", "password": "b"})
        assert (response.status_code, response.headers["location"]) == (303, "./")
        assert "session.key" not in names_in(tmp_path)
    async with site(tmp_path) as at, at.program() as client:
        response = await client.post("/login", data={"username": "a", "password": "b"})
        assert response.json() == {"success": True}


@pytest.mark.parametrize("given", [{"auth": PAIRS}, {"auth": ""}, {"auth_access": "closed"}])
async def test_nothing_but_signing_in_is_answered_before_it(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    paths = ["/config", "/gradio_api/info", "/gradio_api/queue/join", "/gradio_api/upload",
             "/gradio_api/file=x", "/gradio_api/heartbeat/x", "/gradio_api/stream/x/y/z",
             "/assets/index.js", "/static/x", "/theme.css", "/logoutx", "/login/x",
             "/gradio_api/token", "/gradio_api/user", "/anything", "/api/submit_nochat_plain_api",
             "/login%2f..%2fconfig", "/favicon.ico%2f..%2fconfig"]  # fmt: skip
    async with site(tmp_path, **given) as at, at.program() as client:
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"):
            for path in paths:
                response = await client.request(method, path)
                assert response.status_code == 401, (method, path)
        assert (await client.post("/")).status_code == 401
        assert at.inside.paths == []
        assert (await client.get("/config")).json()["detail"]["error"] == "Not authenticated"
        await client.get("/favicon.ico")
        assert at.inside.paths == ["/favicon.ico"]


async def test_no_web_socket_is_opened(tmp_path: Path) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async with site(tmp_path, auth="") as at:
        scope = {"type": "websocket", "path": "/gradio_api/queue/join", "headers": []}
        await at.app(scope, None, send)
        assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_the_page_of_sign_in(tmp_path: Path) -> None:
    async with site(tmp_path, auth=PAIRS) as at, at.browser() as client:
        page = await client.get("/?chat=1&x=<b>")
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert page.headers["referrer-policy"] == "same-origin"
        assert "gradio_config" in page.text
        assert "Continue as a guest" in page.text
        assert "<b>" not in page.text
        assert "<script" not in page.text
        assert not re.search(r"""(src|href)=|url\(|https?:""", page.text)
        assert (await client.get("/login")).status_code == 200
        assert (await client.get("/login/")).headers["location"] == "../login"
        assert (await client.head("/")).status_code == 200
        assert at.inside.paths == []


async def test_signing_in_and_out(tmp_path: Path) -> None:
    async with site(tmp_path, auth=PAIRS) as at, at.browser() as client:
        response = await client.post(
            "/login", data={"username": "boss", "password": PW, "query": "chat=1"}
        )
        assert (response.status_code, response.headers["location"]) == (303, "./?chat=1")
        cookie = response.headers["set-cookie"]
        assert re.fullmatch(
            r"h2o_session_[0-9a-f]{8}=1\.[\w-]+\.[\w-]+; Path=/; HttpOnly; SameSite=Lax; "
            r"Max-Age=2592000",
            cookie,
        )
        assert PW not in cookie
        told = {"owner": "user:boss", "name": "boss", "guest": False, "chat": True}
        assert await whose(client) == await whose(client, "/") == told
        assert (await client.get("/login")).headers["location"] == "./"
        stolen = dict(client.cookies)
        assert "Sign out" in (await client.get("/logout")).text
        assert await whose(client) == told, "a link does not sign out"
        response = await client.post("/logout")
        assert (response.status_code, response.headers["location"]) == (303, "./")
        assert "Max-Age=0" in response.headers["set-cookie"]
        assert dict(client.cookies) == {}
        assert await whose(client) == 401
        async with at.browser() as thief:
            thief.cookies.update(stolen)
            assert await whose(thief) == 401
        assert (await client.get("/logout")).headers["location"] == "./"


async def test_a_restart_signs_nobody_out(tmp_path: Path) -> None:
    async with site(tmp_path, auth="") as at, at.browser() as client:
        assert (await signed_in(client))["owner"] == "user:ann"
        kept = dict(client.cookies)
    async with site(tmp_path, auth="") as at, at.browser() as client:
        client.cookies.update(kept)
        assert (await whose(client))["owner"] == "user:ann"
    async with site(tmp_path / "other", auth="") as at, at.browser() as client:
        client.cookies.update(kept)
        assert await whose(client) == 401


async def test_a_wrong_password_is_told_and_the_name_is_kept(tmp_path: Path) -> None:
    async with site(tmp_path, auth=PAIRS) as at, at.browser() as client:
        data = {"username": 'boss"><script>', "password": PW, "query": "a=1"}
        await client.post("/login", data={"username": "boss", "password": "x"})
        response = await client.post("/login", data={**data, "username": "boss", "password": "x"})
        assert response.status_code == 401
        assert WRONG in response.text
        assert 'value="boss"' in response.text
        assert 'value="a=1"' in response.text
        assert "set-cookie" not in response.headers
        assert await whose(client) == 401


async def test_what_was_typed_is_escaped(tmp_path: Path) -> None:
    async with site(tmp_path, auth_access="closed") as at, at.browser() as client:
        nasty = '"><script>alert(1)</script>'
        data = {"username": nasty, "password": "x", "query": nasty}
        response = await client.post("/login", data=data)
        assert response.status_code == 401
        assert "<script" not in response.text


@pytest.mark.parametrize("query", ["//evil.example", "a\r\nset-cookie: x=1", "\u2028", ""])
async def test_the_next_page_is_always_this_one(tmp_path: Path, query: str) -> None:
    async with site(tmp_path, auth="") as at, at.browser() as client:
        data = {"username": "ann", "password": PW, "query": query}
        response = await client.post("/login", data=data)
        assert response.headers["location"].startswith("./")
        assert "\n" not in response.headers["location"]
        assert len(response.headers.get_list("set-cookie")) == 1


async def test_attempts_are_slowed_down(tmp_path: Path) -> None:
    async with site(tmp_path, auth=PAIRS) as at, at.browser() as client:
        data = {"username": "boss", "password": "x"}
        statuses = [(await client.post("/login", data=data)).status_code for _ in range(7)]
        assert statuses == [401] * 5 + [429] * 2
        response = await client.post("/login", data={"username": "boss", "password": PW})
        assert response.status_code == 429
        assert 1 <= int(response.headers["retry-after"]) <= 2
        assert "Too many attempts. Try again in " in response.text
        async with at.program() as other:
            response = await other.post("/login", data=data)
            assert response.status_code == 429
            assert response.json()["detail"].startswith("Too many attempts.")


async def test_addresses_are_told_apart_behind_a_proxy_on_this_machine(tmp_path: Path) -> None:
    async with site(tmp_path, auth="") as at:
        for n in range(40):
            headers = {"x-forwarded-for": f"9.9.9.9, 10.9.{n}.1"}
            async with at.program("127.0.0.1", **headers) as client:
                data = {"username": f"user{n}", "password": PW}
                assert (await client.post("/login", data=data)).status_code == 200
        answers = []
        for n in range(40):
            async with at.program("10.0.0.1", **{"x-forwarded-for": f"10.8.{n}.1"}) as client:
                data = {"username": f"name{n}", "password": PW}
                answers.append((await client.post("/login", data=data)).status_code)
        assert 429 in answers, "a header is believed from nobody else"


async def test_guests(tmp_path: Path) -> None:
    async with site(tmp_path, auth=PAIRS) as at, at.browser() as one, at.browser() as other:
        owners = set()
        for client in (one, other):
            response = await client.post("/login", data={"guest": "1"})
            assert response.status_code == 303
            assert "Max-Age" not in response.headers["set-cookie"]
            told = await whose(client)
            assert (told["name"], told["guest"]) == ("guest", True)
            owners.add(told["owner"])
        assert len(owners) == 2
        assert all(re.fullmatch(r"guest:[0-9a-f]{32}", owner) for owner in owners)
        again = await one.post("/login", data={"username": "guest9", "password": ""})
        assert again.status_code == 303
        assert (await whose(one))["owner"] not in owners, "each time it is a new one"
    for given in ({"auth": "", "guest_name": ""}, {"auth_access": "closed"}):
        async with site(tmp_path / str(given), **given) as at, at.browser() as client:
            assert "guest" not in (await client.get("/")).text
            response = await client.post("/login", data={"guest": "1"})
            assert response.status_code == 401
            assert NO_GUESTS in response.text


async def test_guests_go_when_guests_are_no_more_let_in(tmp_path: Path) -> None:
    async with site(tmp_path, auth="") as at, at.browser() as client:
        await client.post("/login", data={"guest": "1"})
        kept = dict(client.cookies)
    async with site(tmp_path, auth="", guest_name="") as at, at.browser() as client:
        client.cookies.update(kept)
        assert await whose(client) == 401


async def test_a_new_password_of_a_pair_ends_its_sessions(tmp_path: Path) -> None:
    async with site(tmp_path, auth=PAIRS) as at, at.browser() as client:
        await signed_in(client, "boss")
        kept = dict(client.cookies)
    for auth, found in ((PAIRS, "user:boss"), ("[('boss', 'new')]", None), ("", None)):
        async with site(tmp_path, auth=auth) as at, at.browser() as client:
            client.cookies.update(kept)
            told = await whose(client)
            assert (told if told == 401 else told["owner"]) == (found or 401)


async def test_who_has_no_account_any_more_is_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("h2o_relay_ui.signin.desk.FRESH", 0.0)
    sign_in = SignIn(quick(save_dir=str(tmp_path), auth=""), local=True)
    inside = Inside()
    inside.sign_in = sign_in
    async with Store(f"sqlite:///{tmp_path / 'relay.db'}") as store:
        accounts = Accounts(store)
        async with sign_in.opened(accounts):
            at = Site(Front(sign_in.wrap(inside), True), inside, sign_in, "http://localhost")
            async with at.browser() as client:
                await signed_in(client)
                await accounts.delete("ann")
                assert await whose(client) == 401


async def test_gradios_clients_sign_in_as_they_do(tmp_path: Path) -> None:
    async with site(tmp_path, auth=PAIRS) as at:
        async with at.program() as client:
            response = await client.post("/login", data={"username": "boss", "password": "no"})
            assert (response.status_code, response.json()) == (401, {"detail": WRONG})
            response = await client.post("/login", data={"username": "boss", "password": PW})
            assert (response.status_code, response.json()) == (200, {"success": True})
            assert (await whose(client))["owner"] == "user:boss"
            assert (await client.post("/logout")).json() == {"success": True}
            assert await whose(client) == 401
        async with at.program() as client:  # the JavaScript client's
            parts = {"username": (None, "boss"), "password": (None, PW)}
            assert (await client.post("/login/", files=parts)).json() == {"success": True}
            assert (await whose(client))["owner"] == "user:boss"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b"username=" + b"x" * 20_000),
        ("application/x-www-form-urlencoded", b"\xff=1"),
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % n for n in range(50))),
        ("multipart/form-data; boundary=x", b"--x\r\nbroken"),
        ("multipart/form-data", b""),
    ],
)
async def test_what_is_no_form(tmp_path: Path, kind: str, body: bytes) -> None:
    async with site(tmp_path, auth="") as at, at.program() as client:
        headers = {"content-type": kind}
        response = await client.post("/login", content=body, headers=headers)
        assert response.status_code in (400, 401)
        assert "set-cookie" not in response.headers


async def test_forms_of_other_sites_are_refused(tmp_path: Path) -> None:
    async with site(tmp_path, auth="") as at, at.browser() as client:
        data = {"username": "ann", "password": PW}
        for path in ("/login", "/logout"):
            for origin in ("http://evil.example", "null"):
                response = await client.post(path, data=data, headers={"origin": origin})
                assert response.status_code == 403
        own = {"origin": "http://localhost:7860"}
        assert (await client.post("/login", data=data, headers=own)).status_code == 303


@pytest.mark.parametrize(
    ("base", "headers", "secure"),
    [
        ("http://relay.example", {}, False),
        ("https://relay.example", {}, True),
        ("http://relay.example", {"x-forwarded-proto": "https"}, True),
    ],
)
async def test_by_https_the_cookie_stays_there(
    tmp_path: Path, base: str, headers: dict[str, str], secure: bool
) -> None:
    async with (
        site(tmp_path, auth="", local=False, base=base) as at,
        at.browser(**headers) as client,
    ):
        response = await client.post("/login", data={"username": "ann", "password": PW})
        assert response.headers["set-cookie"].endswith("; Secure") is secure


async def test_sessions_last_on_while_the_page_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(tmp_path, auth="") as at, at.browser() as client:
        await signed_in(client)
        before = dict(client.cookies)
        assert "set-cookie" not in (await client.get("/")).headers
        monkeypatch.setattr("h2o_relay_ui.signin.sessions.RENEWED", -1.0)
        assert "set-cookie" not in (await client.get("/config")).headers
        assert "Max-Age=2592000" in (await client.get("/")).headers["set-cookie"]
        assert dict(client.cookies) != before
        assert (await whose(client))["owner"] == "user:ann"


async def test_a_store_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> bool:
        raise StoreError("the disk is gone, at /secret/place")

    monkeypatch.setattr(Accounts, "exists", broken)
    async with site(tmp_path, auth="") as at, at.browser() as client:
        response = await client.post("/login", data={"username": "ann", "password": PW})
        assert response.status_code == 503
        assert "does not work at the moment" in response.text
        assert "/secret/place" not in response.text


# Beyond loopback, without accounts.


async def test_with_the_relays_key_as_the_password(tmp_path: Path) -> None:
    async with site(tmp_path, local=False, api_key=KEY) as at, at.browser() as client:
        page = await client.get("/")
        assert "API key as the password" in page.text
        assert "guest" not in page.text
        for name, password in (("ann", "x"), ("", KEY), ("ann", "")):
            response = await client.post("/login", data={"username": name, "password": password})
            assert response.status_code == 401
        told = await signed_in(client, "ann", KEY)
        assert (told["owner"], told["name"]) == ("key:ann", "ann")
        kept = dict(client.cookies)
    async with site(tmp_path, local=False, api_key="other") as at, at.browser() as client:
        client.cookies.update(kept)
        assert await whose(client) == 401, "another key, another sign-in"
    async with site(tmp_path, local=False, auth="") as at, at.browser() as client:
        client.cookies.update(kept)
        assert await whose(client) == 401, "whoever has the key is no account"


async def test_listed_keys_do_too_and_a_key_that_goes_ends_its_sessions(tmp_path: Path) -> None:
    given = {"local": False, "h2ogpt_api_keys": f"['{KEY}', 'two']"}
    async with site(tmp_path, **given) as at, at.browser() as client:
        assert (await signed_in(client, "ann", KEY))["owner"] == "key:ann"
        kept = dict(client.cookies)
    given["h2ogpt_api_keys"] = "['two']"
    async with site(tmp_path, **given) as at, at.browser() as client:
        client.cookies.update(kept)
        assert await whose(client) == 401


async def test_without_anything_a_browser_is_a_person(tmp_path: Path) -> None:
    async with site(tmp_path, local=False) as at, at.browser() as one, at.browser() as other:
        owners = []
        for client in (one, other):
            first = await client.get("/")
            assert first.headers["set-cookie"].startswith("h2o_session_")
            assert "HttpOnly; SameSite=Lax; Max-Age=31536000" in first.headers["set-cookie"]
            told = await whose(client)
            assert re.fullmatch(r"browser:[0-9a-f]{32}", told["owner"])
            assert (await whose(client))["owner"] == told["owner"]
            assert "set-cookie" not in (await client.get("/")).headers
            owners.append(told["owner"])
        assert owners[0] != owners[1]
    async with site(tmp_path, local=False) as at, at.program() as client:
        told = await whose(client)
        assert told["owner"].startswith("browser:"), "a page without cookies is a person"
        assert told["owner"] not in owners


# A key for the page.


async def test_the_page_may_ask_for_a_key_alone(tmp_path: Path) -> None:
    given = {"h2ogpt_api_keys": f"['{KEY}']", "enforce_h2ogpt_ui_key": True}
    async with site(tmp_path, **given) as at, at.browser() as client:
        page = await client.get("/")
        assert 'name="key"' in page.text
        assert 'name="username"' not in page.text
        assert at.inside.paths == []
        told = {"owner": "local", "name": "", "guest": False, "chat": False}
        assert await whose(client) == told, "calls bring their own key"
        response = await client.post("/login", data={"key": "wrong"})
        assert response.status_code == 401
        assert WRONG_KEY in response.text
        assert (await client.post("/login", data={"key": KEY})).status_code == 303
        assert await whose(client, "/") == {**told, "chat": True}
        kept = dict(client.cookies)
    given["h2ogpt_api_keys"] = "['two']"
    async with site(tmp_path, **given) as at, at.browser() as client:
        client.cookies.update(kept)
        assert 'name="key"' in (await client.get("/")).text, "the key is good no more"


async def test_or_beside_name_and_password(tmp_path: Path) -> None:
    given = {"auth": PAIRS, "h2ogpt_api_keys": f"['{KEY}']", "enforce_h2ogpt_ui_key": True}
    async with site(tmp_path, **given) as at:
        async with at.browser() as client:
            page = (await client.get("/")).text
            assert all(f'name="{name}"' in page for name in ("username", "password", "key"))
            data = {"username": "boss", "password": PW}
            for key in ({}, {"key": "x"}):
                response = await client.post("/login", data={**data, **key})
                assert WRONG_KEY in response.text
                assert await whose(client) == 401
            assert (await client.post("/login", data={**data, "key": KEY})).status_code == 303
            assert (await whose(client, "/"))["chat"] is True
            assert (await client.post("/login", data={"guest": "1"})).status_code == 401
        async with at.program() as client:
            assert (await client.post("/login", data=data)).status_code == 200
            told = await whose(client)
            assert (told["owner"], told["chat"]) == ("user:boss", False)
            client.headers.update(BROWSER)
            assert 'name="key"' in (await client.get("/")).text


async def test_a_browser_keeps_its_person_when_it_gives_a_key(tmp_path: Path) -> None:
    given = {"local": False, "h2ogpt_api_keys": "['one', 'two']", "enforce_h2ogpt_ui_key": True,
             "enforce_h2ogpt_api_key": False}  # fmt: skip
    async with site(tmp_path, **given) as at, at.browser() as client:
        await client.post("/login", data={"key": "one"})
        told = await whose(client, "/")
        assert told["chat"] is True
        await client.post("/login", data={"key": "two"})
        assert await whose(client, "/") == told


# The facade.


def test_a_request_that_came_another_way_is_nobodys(tmp_path: Path) -> None:
    sign_in = SignIn(quick(save_dir=str(tmp_path)), local=True)
    request = SimpleNamespace(scope={"type": "http"})
    with pytest.raises(RuntimeError):
        sign_in.user(request)
    assert sign_in.username(request) is None
    assert sign_in.username(SimpleNamespace(scope={SESSION: None})).startswith("browser:")


def test_a_button_to_sign_out(tmp_path: Path) -> None:
    sign_in = SignIn(quick(save_dir=str(tmp_path), auth=""), local=True)
    html = sign_in.sign_out(User("user:<b>", "<b>"))
    assert 'method="post" action="logout"' in html
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert "Guest" in sign_in.sign_out(User("guest:1", "guest", guest=True))
    nobody = SignIn(quick(save_dir=str(tmp_path)), local=True)
    assert nobody.sign_out(User("local")) == ""


@pytest.mark.parametrize(
    "given",
    [{"auth": "closed"}, {"auth": "[1]"}, {"auth": f"[('{'x' * 200}', 'y')]"}],
)  # fmt: skip
def test_settings_that_cannot_be_read(tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        SignIn(quick(save_dir=str(tmp_path), **given), local=True)
