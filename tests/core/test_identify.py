"""What lives behind a bare URL: told from GETs alone, a particular kind before the general one."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import orjson
import pytest

from h2o_relay import catalog, identification
from h2o_relay.errors import FirstByteTimeout, UpstreamUnidentified, UpstreamUnreachable
from h2o_relay.http import HttpClient
from h2o_relay.identification import identify
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.probe import Probe, authorizations
from h2o_relay.serverstring import parse_bare
from h2o_relay.testing.scripts import hang, json, play, redirect
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, Script, ScriptedUpstream, until
from h2o_relay.types import Identified, Server

from . import plain
from .identify_servers import (
    LLAMA,
    LLAMA_HEADERS,
    LLAMA_OTHER,
    LLAMA_REFUSAL,
    PRODUCTS,
    STRANGERS,
    VLLM,
    Product,
)

pytestmark = pytest.mark.usefixtures("leaves_nothing")
BASIC = f"Basic {b64encode(b'user:SECRET').decode()}"
BEARER = "Bearer SECRET"


@pytest.fixture(scope="module")
def installed() -> Plugins:
    return Plugins.discover()


@asynccontextmanager
async def looking(text: str, **changes: Any) -> AsyncIterator[Probe]:
    async with HttpClient(quick(**changes)) as http, Probe(http, parse_bare(text)) as probe:
        yield probe


def only_gets(upstream: ScriptedUpstream) -> bool:
    """Nothing but GETs came, and none twice."""
    paths = [request.path for request in upstream.requests]
    return {r.method for r in upstream.requests} == {"GET"} and len(set(paths)) == len(paths)


class TestProducts:
    @pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
    @pytest.mark.parametrize("name", PRODUCTS)
    async def test_each_is_its_plugins(self, name: str, end: str, installed: Plugins) -> None:
        product, plugin, below = PRODUCTS[name]
        async with ScriptedUpstream(product) as upstream, looking(upstream.url + end) as probe:
            found = await identify(installed, probe)
            assert found.server.plugin == plugin
            url = found.server.url or ""
            assert url.rstrip("/") == upstream.url + below
            assert found.server.shown == upstream.url + end
            assert only_gets(upstream)

    @pytest.mark.parametrize("name", STRANGERS)
    async def test_what_is_nobodys(self, name: str, installed: Plugins) -> None:
        async with (
            ScriptedUpstream(STRANGERS[name]) as upstream,
            looking(upstream.url) as probe,
        ):
            with pytest.raises(UpstreamUnidentified, match="no installed plugin recognises it"):
                await identify(installed, probe)
            assert only_gets(upstream)

    async def test_many_at_once_through_a_kernel(self, installed: Plugins) -> None:
        """All kinds side by side, with one that never answers: nobody waits for it."""
        async with AsyncExitStack() as stack:
            start = stack.enter_async_context
            scripts: list[Script] = [product for product, _, _ in PRODUCTS.values()]
            upstreams = [await start(ScriptedUpstream(s)) for s in [play(hang), *scripts]]
            urls = [upstream.url for upstream in upstreams]
            began = asyncio.get_running_loop().time()
            kernel = await start(Kernel(quick(request_timeout=30), urls, installed))
            assert asyncio.get_running_loop().time() - began < 3, "opening waits for nobody"
            first = kernel.status()[0]
            assert (first.stage, first.server.plugin) == ("opening", None)
            await until(lambda: all(s.server.plugin for s in kernel.status()[1:]), within=5)
            plugins = [status.server.plugin for status in kernel.status()]
            assert plugins == [None, *(plugin for _, plugin, _ in PRODUCTS.values())]
            assert kernel.status()[0].reason == "not identified yet"
            posted = {r.path for u in upstreams for r in u.requests if r.method != "GET"}
            allowed = ("/api/show", "/queue/", "/run/", "/api/model_names")
            assert all(path.startswith(allowed) for path in posted), "lists, never answers"


class TestCredentials:
    async def test_they_are_shown_only_to_who_asks(self, installed: Plugins) -> None:
        async with ScriptedUpstream(Product(VLLM)) as upstream:
            text = upstream.url.replace("://", "://user:SECRET@")
            async with looking(text) as probe:
                found = await identify(installed, probe)
            assert not any("authorization" in r.headers for r in upstream.requests)
            assert (found.server.plugin, found.server.key) == ("vllm", "SECRET")
            assert "SECRET" not in f"{found.server}"

    @pytest.mark.parametrize("authorization", [BASIC, BEARER])
    @pytest.mark.parametrize(
        ("product", "plugin"),
        [
            (Product(VLLM, guarded=("/v1",)), "vllm"),
            (Product(LLAMA, LLAMA_OTHER, LLAMA_HEADERS, refusal=LLAMA_REFUSAL), "llama_cpp"),
            (Product(LLAMA, LLAMA_OTHER, refusal=LLAMA_REFUSAL), "llama_cpp"),
        ],
    )
    async def test_a_key_or_a_proxys_password(
        self, authorization: str, product: Product, plugin: str, installed: Plugins
    ) -> None:
        """And what was taken then goes with every request."""
        script = Product(
            product.documents, product.other, product.headers, authorization, product.guarded,
            product.refusal,
        )  # fmt: skip
        async with ScriptedUpstream(script) as upstream:
            text = upstream.url.replace("://", "://user:SECRET@")
            async with Kernel(quick(), [text], installed) as kernel:
                await kernel.settled(20)
                status = kernel.status()[0]
                assert (status.server.plugin, status.stage) == (plugin, "ready"), status.reason
                assert [m.id for m in status.models] == ["m"]
                last = next(r for r in reversed(upstream.requests) if r.path == "/v1/models")
                assert last.headers["authorization"] == authorization

    @pytest.mark.parametrize(
        ("product", "plugin"),
        [
            (Product(VLLM, authorization=BEARER, guarded=("/v1",)), "vllm"),
            (Product(LLAMA, headers=LLAMA_HEADERS, authorization=BEARER), "llama_cpp"),
            (Product(LLAMA, authorization=BEARER, refusal=LLAMA_REFUSAL), "openai"),
        ],
    )
    async def test_without_the_key_the_kind_is_told_and_what_is_missing(
        self, product: Product, plugin: str, installed: Plugins
    ) -> None:
        async with (
            ScriptedUpstream(product) as upstream,
            Kernel(quick(), [upstream.url], installed) as kernel,
        ):
            await kernel.settled(20)
            status = kernel.status()[0]
            assert (status.server.plugin, status.stage) == (plugin, "offline")
            assert "refused the relay's credentials (401)" in status.reason

    @pytest.mark.parametrize(
        ("server", "expected"),
        [
            (Server(plugin=None), []),
            (Server(plugin=None, key="EMPTY"), []),
            (Server(plugin=None, key="k", user="u", password="p"),
             [f"Basic {b64encode(b'u:p').decode()}", "Bearer k", "Bearer p"]),
            (Server(plugin=None, password="a\r\nb: c", user="u"),
             [f"Basic {b64encode(b'u:a' + bytes([13, 10]) + b'b: c').decode()}"]),
            (Server(plugin=None, key="k", headers={"authorization": "Bearer x"}), []),
        ],
    )  # fmt: skip
    def test_which_are_tried(self, server: Server, expected: list[str]) -> None:
        assert authorizations(server) == expected


def claiming(rank: int, name: str, path: str = "/who") -> Any:
    async def identify(server: Server, get: Any) -> Identified | None:
        status, _, _ = await get(path)
        found = Server(plugin=name, url=server.url)
        return Identified(server=found, rank=rank) if status == 200 else None

    return plain.module(identify=identify)


async def answers_who(request: Received, answer: Answer) -> None:
    """/who at once, anything else never."""
    await (json({}) if request.path == "/who" else play(hang))(request, answer)


class TestTime:
    async def test_a_look_ends_after_the_request_timeout(self) -> None:
        """However many GETs a plugin would make one after the other."""

        async def stubborn(server: Server, get: Any) -> Identified | None:
            for number in range(50):
                try:
                    await get(f"/{number}")
                except FirstByteTimeout:
                    continue
            return None

        plugins = Plugins.of(a=plain.module(identify=stubborn))
        async with (
            ScriptedUpstream(play(hang)) as upstream,
            looking(upstream.url, request_timeout=0.2) as probe,
        ):
            start = asyncio.get_running_loop().time()
            with pytest.raises(FirstByteTimeout):
                await identify(plugins, probe)
            assert 0.15 < asyncio.get_running_loop().time() - start < 3

    async def test_who_knows_the_product_need_not_wait_for_the_others(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(identification, "LEEWAY", 0.05)
        plugins = Plugins.of(a=claiming(50, "a"), b=claiming(90, "b", "/never"))
        async with (
            ScriptedUpstream(answers_who) as upstream,
            looking(upstream.url, request_timeout=30) as probe,
        ):
            found = await asyncio.wait_for(identify(plugins, probe), 20)
            assert found.server.plugin == "a"

    async def test_who_knows_only_the_family_does(self) -> None:
        plugins = Plugins.of(a=claiming(10, "a"), b=claiming(50, "b", "/never"))
        async with (
            ScriptedUpstream(answers_who) as upstream,
            looking(upstream.url, request_timeout=2.5) as probe,
        ):
            start = asyncio.get_running_loop().time()
            assert (await identify(plugins, probe)).server.plugin == "a"
            assert asyncio.get_running_loop().time() - start > 2.4

    async def test_a_plugin_that_says_nonsense_is_passed_over(self) -> None:
        async def nonsense(server: Server, get: Any) -> Any:
            return "mine"

        plugins = Plugins.of(a=claiming(10, "a"), b=plain.module(identify=nonsense))
        async with ScriptedUpstream(json({})) as upstream, looking(upstream.url) as probe:
            assert (await identify(plugins, probe)).server.plugin == "a"


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def serve_vllm(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One GET of a server that was not there before."""
    path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
    body = orjson.dumps(VLLM.get(path))
    status = b"200 OK" if path in VLLM else b"404 Not Found"
    head = b"HTTP/1.1 %b\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    writer.write(head % (status, len(body)) + body)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


class TestLater:
    async def test_a_dead_one_comes_alive(
        self, installed: Plugins, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(catalog, "FIRST_WAIT", 0.05)
        async with ScriptedUpstream(json({})) as taken:
            url = taken.url
        async with Kernel(quick(), [(url, "my-model"), url], installed) as kernel:
            await kernel.settled(20)
            for status in kernel.status():
                assert status.stage == "offline"
                assert status.server.plugin is None
                assert status.reason.startswith("not identified yet: the upstream server could not")
            assert [d.name for d in kernel.models()] == ["my-model"], "listed before it is known"
            async with await asyncio.start_server(serve_vllm, "127.0.0.1", port_of(url)):
                await until(lambda: all(s.stage == "ready" for s in kernel.status()), within=3)
                assert [s.server.plugin for s in kernel.status()] == ["vllm", "vllm"]
                assert [d.name for d in kernel.models()] == ["my-model", "m"]

    async def test_nobodys_server_is_asked_again(
        self, installed: Plugins, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(catalog, "FIRST_WAIT", 0.05)
        async with (
            ScriptedUpstream(STRANGERS["web page"]) as upstream,
            Kernel(quick(), [upstream.url], installed) as kernel,
        ):
            await kernel.settled(20)
            assert kernel.status()[0].stage == "unidentified"
            upstream.script = PRODUCTS["tgi"][0]
            await until(lambda: kernel.status()[0].stage == "ready", within=2)
            assert kernel.status()[0].server.plugin == "tgi"


class TestAway:
    async def test_nothing_listens(self, installed: Plugins) -> None:
        async with ScriptedUpstream(json({})) as taken:
            url = taken.url
        async with looking(url) as probe:
            with pytest.raises(UpstreamUnreachable):
                await identify(installed, probe)

    async def test_a_redirect_is_told_with_its_target(self, installed: Plugins) -> None:
        async def moved(request: Received, answer: Answer) -> None:
            target = f"https://u:SECRET@elsewhere.example{request.path}?token=SECRET"
            await redirect(target, 308)(request, answer)

        async with (
            ScriptedUpstream(moved) as upstream,
            Kernel(quick(), [upstream.url, f"plain:{upstream.url}/v1"],
                   Plugins.of(plain=plain.module(identify=installed.get("openai").identify))
                   ) as kernel,
        ):  # fmt: skip
            await kernel.settled(20)
            bare, named = kernel.status()
            assert bare.stage == "unidentified"
            assert bare.reason.endswith("redirects to: https://elsewhere.example")
            assert named.state == "offline"
            assert named.reason.endswith("not followed: https://elsewhere.example/v1/models")
            assert {request.method for request in upstream.requests} == {"GET"}
