"""Logging in, and being recognised at a bare URL."""

from __future__ import annotations

import pytest

from h2o_relay.testing.scripts import Play, head, json, redirect, stream, whole
from h2o_relay.testing.upstream import Answer, Received
from h2o_relay_gradio_remote.standin import EVENT

from .gradio_remote_site import (
    CALL,
    Site,
    call_site,
    completed,
    relay,
    said,
)


class Closed(Site):
    """A server with a login whose cookies can be made to run out."""

    def __init__(self) -> None:
        super().__init__(CALL)
        self.valid = 0
        self.logins: list[bytes] = []
        self.on(f"/gradio_api/call/submit_nochat_api/{EVENT}", stream([completed("Hello")]))

    async def __call__(self, request: Received, answer: Answer) -> None:
        if request.path == "/login":
            self.logins.append(request.body)
            self.valid += 1
            await self._let_in(answer)
        elif f"access-token-unsecure-x={self.valid}" in request.headers.get("cookie", ""):
            await super().__call__(request, answer)
        else:
            await json({"detail": "Not authenticated"}, 401)(request, answer)

    async def _let_in(self, answer: Answer) -> None:
        body = b'{"success":true}'
        top = head(200, {"content-type": "application/json", "content-length": str(len(body))})
        cookies = (
            f"set-cookie: access-token-x={self.valid}; HttpOnly; Path=/; SameSite=none; Secure\r\n"
            f"set-cookie: access-token-unsecure-x={self.valid}; HttpOnly; Path=/; SameSite=lax\r\n"
        )
        await answer.send(top[:-2] + cookies.encode() + b"\r\n" + body)


async def test_a_login_is_made_once_and_again_when_it_has_run_out() -> None:
    site = Closed()
    async with relay(site, "gradio:{url}:ann:p%20w&=d") as (kernel, upstream):
        assert await said(kernel) == ["Hello"]
        assert len(site.logins) == 1
        cookie = upstream.requests[0].headers["cookie"]
        site.valid += 1
        assert await said(kernel) == ["Hello"]
        assert len(site.logins) == 2
    assert site.logins[0] == b"username=ann&password=p%2520w%26%3Dd"
    assert cookie == "access-token-x=1; access-token-unsecure-x=1"


async def test_a_login_that_is_refused_is_the_operators_business() -> None:
    site = Site(CALL).on("/login", json({"detail": "Incorrect credentials."}, 400))
    async with relay(site, "gradio:{url}:ann:wrong-7781") as (kernel, _):
        (server,) = kernel.status()
    assert server.stage == "offline"
    assert "refused the relay's login" in server.reason
    assert "wrong-7781" not in f"{server.reason} {server.server!r}"


async def test_a_server_without_users_sends_the_login_away() -> None:
    site = call_site(completed("Hello")).on("/login", redirect("/", 302))
    async with relay(site, "gradio:{url}:ann:password") as (kernel, upstream):
        assert await said(kernel) == ["Hello"]
        assert "cookie" not in upstream.requests[0].headers


async def test_a_header_goes_with_every_request() -> None:
    site = call_site(completed("Hello"))
    async with relay(site, "gradio:{url}    Bearer    tok-551") as (kernel, upstream):
        assert await said(kernel) == ["Hello"]
        sent = {item.headers.get("authorization") for item in upstream.requests}
    assert sent == {"Bearer tok-551"}


async def test_a_config_that_is_too_large_for_a_look_is_h2ogpts() -> None:
    large = {**CALL, "css": "x" * 2**21}
    site = call_site(completed("Hello")).on("/config", json(large))
    site.on("/gradio_api/app_id", json({"app_id": 5}))
    async with relay(site, "{url}") as (kernel, _):
        assert await said(kernel) == ["Hello"]


async def test_a_login_page_is_recognised() -> None:
    page = b'<script>window.gradio_config = {"auth_required":true};</script>'
    site = Site(CALL).on("/config", json({"detail": "Not authenticated"}, 401))
    site.on("/", whole(page, content_type="text/html"))
    async with relay(site, "{url}") as (kernel, _):
        (server,) = kernel.status()
    assert "asks for a login" in server.reason


@pytest.mark.parametrize("answer", [json({"version": "6"}), json([]), whole(b"<html>"),
                                    json({"detail": "no"}, 401)])  # fmt: skip
async def test_what_is_no_gradio_is_not_ours(answer: Play) -> None:
    async with relay(Site({}).on("/config", answer), "{url}") as (kernel, _):
        (server,) = kernel.status()
    assert server.stage == "unidentified"
