"""One key, however a client sends it; nothing but the two health paths without it."""

from __future__ import annotations

import inspect
import logging
import re

import pytest

from h2o_relay.http import HttpClient
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.testing import echo
from h2o_relay.testing.settings import quick
from h2o_relay_proxy import auth
from h2o_relay_proxy.app import create_app
from h2o_relay_proxy.ports import address, bind
from h2o_relay_proxy.server import running

from .kit import CHAT, KEY, Relay, assert_error, assert_intact, chat, get, post, relay, said

pytestmark = pytest.mark.asyncio(loop_scope="module")

BEARER = f"Bearer {KEY}"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": BEARER},
        {"authorization": f"bearer {KEY}"},
        {"Authorization": f"BEARER   {KEY}  "},
        {"x-api-key": KEY},
        {"api-key": KEY},
        {"Authorization": BEARER, "x-api-key": KEY, "api-key": KEY},
    ],
)
async def test_ways_to_send_the_key(guarded: Relay, headers: dict[str, str]) -> None:
    assert (await guarded.ask(get("/v1/models", **headers))).status == 200


WRONG = [
    KEY[:-1], KEY + "x", KEY.upper(), KEY[::-1], f"{KEY} x", f"{KEY},", f'"{KEY}"', "EMPTY", "x",
    "None", "null", "x" * 10_000, KEY.replace("canary", "can\u0061ry "),
]  # fmt: skip


@pytest.mark.parametrize("header", ["Authorization", "x-api-key", "api-key"])
async def test_wrong_keys(guarded: Relay, header: str, caplog: pytest.LogCaptureFixture) -> None:
    bodies = set()
    with caplog.at_level(logging.DEBUG):
        for key in WRONG:
            value = f"Bearer {key}" if header == "Authorization" else key
            reply = await guarded.ask(post(chat(), headers={header: value}))
            assert_error(reply, 401, "invalid_api_key", "invalid_request_error")
            assert reply.headers["www-authenticate"] == "Bearer"
            bodies.add(reply.body)
    assert len(bodies) == 1, "an answer tells more than that the key is wrong"
    assert guarded.asked == []
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": KEY},
        {"Authorization": "Basic dXNlcjpzay1jYW5hcnk="},
        {"x-api-key": ""},
        {"Cookie": f"api_key={KEY}"},
        {"x-goog-api-key": KEY},
        {"X-User-ID": KEY},
    ],
)
async def test_no_key(guarded: Relay, headers: dict[str, str]) -> None:
    for path in ("/v1/models", f"/v1/models?api_key={KEY}", "/nope", CHAT):
        assert_error(await guarded.ask(get(path, **headers)), 401, "missing_api_key")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": BEARER, "x-api-key": "x"},
        {"Authorization": "Bearer x", "api-key": KEY},
        {"x-api-key": KEY, "api-key": KEY[:-1]},
        {"Authorization": "Basic x", "api-key": KEY},
        {"Authorization": BEARER, "x-api-key": ""},
    ],
)
async def test_credentials_that_disagree(guarded: Relay, headers: dict[str, str]) -> None:
    assert_error(await guarded.ask(get("/v1/models", **headers)), 401, "invalid_api_key")


async def test_two_authorization_headers(guarded: Relay) -> None:
    for first, second in [(KEY, "x"), ("x", KEY)]:
        data = get("/v1/models", Authorization=f"Bearer {first}")
        data = data[:-2] + f"Authorization: Bearer {second}\r\n\r\n".encode()
        assert_error(await guarded.ask(data), 401, "invalid_api_key")


async def test_what_is_open(guarded: Relay) -> None:
    assert (await guarded.ask(get("/health"))).json()["status"] == "ok"
    assert (await guarded.ask(get("/readyz"))).json()["status"] == "ready"


async def test_without_a_key_of_ours_any_key_will_do() -> None:
    async with relay() as running:
        for headers in ({}, {"Authorization": BEARER}, {"Authorization": "Basic x"}):
            assert_intact(await running.ask(post(chat(), headers=headers)), said(3))
        for received in running.asked:
            assert received.headers["authorization"] == "Bearer EMPTY"


async def test_what_a_client_sends_about_itself_stays_here() -> None:
    sent = {
        "Authorization": BEARER, "Cookie": "a=b", "X-Forwarded-For": "1.2.3.4", "Origin": "http://x",
        "X-H2o-Secret": "y", "User-Agent": "me", "Connection": "keep-alive, x-hop", "X-Hop": "1",
        "Te": "trailers", "x-api-key": KEY,
    }  # fmt: skip
    async with relay(api_key=KEY) as running:
        assert_intact(await running.ask(post(chat(), headers=sent)), said(3))
        (received,) = running.asked
    assert set(received.headers) == {
        "host", "user-agent", "accept-encoding", "content-length", "content-type", "authorization",
    }  # fmt: skip
    assert received.headers["user-agent"] == "h2o-relay"
    assert received.headers["authorization"] == "Bearer EMPTY"


async def test_keys_are_compared_in_constant_time() -> None:
    source = inspect.getsource(auth)
    assert "hmac.compare_digest(" in source
    assert not re.search(r"[!=]= *(key|candidate)\b|\b(key|candidate) *[!=]=", source)
    assert "break" not in source


async def test_h2ogpts_list_guards_the_api_and_the_internal_key_is_good() -> None:
    settings = quick(h2ogpt_api_keys="['listed-1', 'listed-2']")
    async with Kernel(settings, ["echo:m"], Plugins.of(echo=echo)) as kernel:
        await kernel.settled(20)
        sock = bind("127.0.0.1", 0)
        app = create_app(kernel, settings, internal_key="inside")
        async with running(app, settings, sock), HttpClient(settings) as http:
            url = f"{address(sock)}/v1/models"
            for key, status in (("listed-2", 200), ("inside", 200), ("other", 401), (None, 401)):
                headers = {"authorization": f"Bearer {key}"} if key else {}
                async with http.request("GET", url, headers=headers) as response:
                    assert response.status == status


async def test_a_list_that_is_not_enforced_guards_nothing() -> None:
    settings = quick(h2ogpt_api_keys="['listed-1']", enforce_h2ogpt_api_key=False)
    async with Kernel(settings, ["echo:m"], Plugins.of(echo=echo)) as kernel:
        await kernel.settled(20)
        sock = bind("127.0.0.1", 0)
        async with (
            running(create_app(kernel, settings), settings, sock),
            HttpClient(settings) as http,
            http.request("GET", f"{address(sock)}/v1/models") as response,
        ):
            assert response.status == 200
