"""Where whole answers are asked for is worked out once, of a `steady` target."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from h2o_relay import openai_shape, ways
from h2o_relay.errors import (
    InvalidRequest,
    Overloaded,
    RateLimited,
    RelayError,
    UpstreamBadResponse,
    UpstreamDisconnected,
    UpstreamRedirect,
)
from h2o_relay.hookspecs import steady
from h2o_relay.http import HttpClient
from h2o_relay.testing.scripts import Play, each, head, in_turn, json, play, redirect, reset, whole
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Received, Script, ScriptedUpstream
from h2o_relay.trace_headers import PASSED_ON
from h2o_relay.types import Call, Deployment, Request, Server, Target

pytestmark = pytest.mark.usefixtures("leaves_nothing")
CHAT = {"choices": [{"index": 0, "message": {"content": "a"}}]}
TEXT = {"choices": [{"index": 0, "text": "a"}]}


class Asked:
    """A plugin's `target` that counts its calls."""

    def __init__(self, mark: Callable[[Any], Any] = steady) -> None:
        self.calls: list[Call] = []

        def target(server: Server, call: Call) -> Target | None:
            self.calls.append(call)
            if server.url is None:
                return None
            key = {"authorization": f"Bearer {server.key}"} if server.key else {}
            url = f"{server.url}{call.path}"
            return Target(
                method=call.method, url=url, headers={**call.headers, **key}, body=call.body
            )

        self.target = mark(target)


class Asking:
    def __init__(self, upstream: ScriptedUpstream, client: HttpClient) -> None:
        self.upstream, self.client = upstream, client
        self.server = Server(plugin="p", url=upstream.url, key="k1")

    async def __call__(
        self, plugin: Asked, server: Server | None = None, client: HttpClient | None = None,
        body: bytes = b'{"model":"m"}', **more: Any,
    ) -> str:  # fmt: skip
        server = server or self.server
        request = Request(
            kind="chat", params={"model": "m"}, body=body,
            deployment=Deployment(name="m", server=server, model="m"),
        )  # fmt: skip
        request = replace(request, **more)
        client = client or self.client
        return (await openai_shape.generate(plugin.target, server, client, request)).text

    @property
    def last(self) -> Received:
        return self.upstream.requests[-1]


@contextlib.asynccontextmanager
async def asking(script: Script, **changes: Any) -> AsyncIterator[Asking]:
    async with ScriptedUpstream(script) as upstream, HttpClient(quick(**changes)) as client:
        yield Asking(upstream, client)


async def test_it_is_asked_once_and_each_body_is_sent() -> None:
    plugin = Asked()
    async with asking(json(CHAT)) as ask:
        for size in (0, 5, 500):
            body = b'{"model":"m","x":"%b"}' % (b"y" * size)
            assert await ask(plugin, body=body) == "a"
            assert ask.last.body == body
            assert ask.last.headers["authorization"] == "Bearer k1"
            assert ask.last.headers["content-type"] == "application/json"
        first, *others = ask.upstream.requests
        for other in others:
            assert {**other.headers, "content-length": ""} == {
                **first.headers,
                "content-length": "",
            }
            assert (other.method, other.path) == ("POST", "/chat/completions")
    assert len(plugin.calls) == 1


async def test_what_is_not_steady_is_asked_each_time() -> None:
    plugin = Asked(mark=lambda target: target)
    async with asking(json(CHAT)) as ask:
        await ask(plugin)
        await ask(plugin)
    assert len(plugin.calls) == 2


async def test_one_that_changes_the_body_after_all() -> None:
    plugin = Asked()
    inner = plugin.target

    @steady
    def target(server: Server, call: Call) -> Target | None:
        call.body = b'{"changed":true}'
        return inner(server, call)  # type: ignore[no-any-return]

    plugin.target = target
    async with asking(json(CHAT)) as ask:
        for _ in range(2):
            await ask(plugin)
            assert ask.last.body == b'{"changed":true}'
    assert len(plugin.calls) == 2


async def test_each_server_has_its_own() -> None:
    plugin = Asked()
    async with asking(json(CHAT)) as ask, asking(json(CHAT)) as other:
        keyed = replace(ask.server, key="k2")
        for _ in range(2):
            await ask(plugin)
            assert ask.last.headers["authorization"] == "Bearer k1"
            await ask(plugin, keyed)
            assert ask.last.headers["authorization"] == "Bearer k2"
            await ask(plugin, other.server)
        assert len(other.upstream.requests) == 2
    assert len(plugin.calls) == 3


async def test_each_plugin_and_kind_has_its_own() -> None:
    plugin, second = Asked(), Asked()
    async with asking(json(CHAT)) as ask:
        await ask(plugin)
        await ask(second)
        ask.upstream.script = json(TEXT)
        for _ in range(2):
            assert await ask(plugin, kind="text") == "a"
            assert ask.last.path == "/completions"
            assert await ask(plugin, prompt="rendered") == "a", "it is no chat"
            assert ask.last.path == "/completions"
            assert ask.last.json()["prompt"] == "rendered"
    assert [call.path for call in plugin.calls] == ["/chat/completions", "/completions"]
    assert len(second.calls) == 1


async def test_a_view_has_its_own_headers_and_base() -> None:
    plugin = Asked()
    async with asking(json(CHAT)) as ask:
        relative = replace(ask.server, url="/v1", key=None)
        views = [ask.client.at(f"{ask.upstream.url}/{n}", {"x-own": n}) for n in "ab"]
        for _ in range(2):
            for view, name in zip(views, "ab", strict=True):
                await ask(plugin, relative, view)
                assert ask.last.path == f"/{name}/v1/chat/completions"
                assert ask.last.headers["x-own"] == name
    assert len(plugin.calls) == 2


async def test_a_class_with_its_own_open_is_asked_to_open() -> None:
    opened = 0

    class Signing(HttpClient):
        async def open(self, method: Any, url: Any, headers: Any, body: Any, limits: Any) -> Any:
            nonlocal opened
            opened += 1
            signed = {**headers, "x-signed": str(opened)}
            return await super().open(method, url, signed, body, limits)

    async with asking(json(CHAT)) as ask:
        client = Signing(ask.client.settings)
        client.share(ask.client)
        for number in (1, 2):
            await ask(Asked(), client=client)
            assert ask.last.headers["x-signed"] == str(number)
        assert not client.ways


async def test_through_a_proxy_there_is_none() -> None:
    async with (
        asking(json(CHAT)) as proxy,
        asking(json(CHAT), http_proxy=proxy.upstream.url, no_proxy="") as ask,
    ):
        elsewhere = replace(ask.server, url="http://model.example")
        for _ in range(2):
            await ask(Asked(), elsewhere)
        assert not ask.client.ways
        assert len(proxy.upstream.requests) == 2


async def test_headers_of_one_request_are_in_no_other() -> None:
    plugin = Asked()
    async with asking(json(CHAT)) as ask:
        for lines, told in ((b"", None), (b"traceparent: a\r\n", "a"), (b"", None)):
            token = PASSED_ON.set(lines)
            try:
                await ask(plugin)
            finally:
                PASSED_ON.reset(token)
            assert ask.last.headers.get("traceparent") == told
    assert len(plugin.calls) == 1


async def test_an_api_that_is_not_offered_is_asked_for_again() -> None:
    plugin = Asked()
    async with asking(json(CHAT)) as ask:
        nowhere = replace(ask.server, url=None)
        for _ in range(2):
            with pytest.raises(InvalidRequest, match="/v1/chat/completions"):
                await ask(plugin, nowhere)
    assert len(plugin.calls) == 2


async def test_no_more_than_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "MOST", 2)
    plugin = Asked()
    async with asking(json(CHAT)) as ask:
        servers = [replace(ask.server, key=str(n)) for n in range(5)]
        for server in servers:
            await ask(plugin, server)
            assert ask.last.headers["authorization"] == f"Bearer {server.key}"
            assert len(ask.client.ways) <= 2


async def test_a_closed_client_sends_nothing() -> None:
    plugin = Asked()
    async with asking(json(CHAT)) as ask:
        view = ask.client.at(ask.upstream.url)
        await ask(plugin)
        await ask(plugin, client=view)
        await ask.client.__aexit__()
        assert not ask.client.ways
        with pytest.raises(RuntimeError, match="not open"):
            await ask(plugin)
        with pytest.raises(Overloaded):
            await ask(plugin, client=view)
        assert len(ask.upstream.requests) == 2


@pytest.mark.parametrize(
    ("script", "error", "begun"),
    [
        (redirect("http://x/", 307), UpstreamRedirect, False),
        (whole(b"{}", headers={"content-encoding": "gzip"}), UpstreamBadResponse, False),
        (whole(b"{}", 500, headers={"content-encoding": "gzip"}), UpstreamBadResponse, False),
        (json({"error": {"message": "no"}}, 429), RateLimited, False),
        (play(head(200, {"content-length": "9"}), b"{}", reset), UpstreamDisconnected, True),
        (play(b"HTTP/1.1 2", reset), UpstreamDisconnected, False),
    ],
    ids=["redirect", "encoded", "encoded-500", "status", "reset-in-body", "reset-in-head"],
)  # fmt: skip
async def test_what_is_refused_is_refused_by_a_kept_way_too(
    script: Play, error: type[RelayError], begun: bool
) -> None:
    plugin = Asked()
    async with asking(in_turn(json(CHAT), script, json(CHAT))) as ask:
        assert await ask(plugin) == "a"
        with pytest.raises(error) as caught:
            await ask(plugin)
        assert type(caught.value) is error
        assert caught.value.begun is begun
        assert await ask(plugin) == "a"
    assert len(plugin.calls) == 1


@pytest.mark.parametrize("size", [1, 30, 10_000])
async def test_an_answer_in_any_pieces(size: int) -> None:
    plugin = Asked()
    async with asking(json(CHAT).recut(each(size))) as ask:
        for _ in range(3):
            assert await ask(plugin) == "a"
        assert ask.upstream.accepted == 1


async def test_a_connection_that_was_closed_meanwhile_is_made_anew() -> None:
    plugin = Asked()
    async with asking(in_turn(json(CHAT), play(reset), json(CHAT))) as ask:
        assert await ask(plugin) == "a"
        assert await ask(plugin) == "a", "it was not asked again"
        assert ask.upstream.accepted == 2
        assert len(ask.upstream.requests) == 3
