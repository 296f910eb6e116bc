"""Looking at servers: bare URLs are asked politely, and only as often as it takes."""

import asyncio
from typing import Any

import pytest

from h2o_relay.catalog import Probe
from h2o_relay.errors import RelayError, UpstreamDisconnected, UpstreamRedirect
from h2o_relay.http import HttpClient
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.testing.scripts import hang, json, play, redirect, reset, whole
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, ScriptedUpstream, until
from h2o_relay.types import Identified, Server

from . import plain

pytestmark = pytest.mark.usefixtures("leaves_nothing")


class TestProbe:
    @pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
    async def test_it_gets_below_the_url(self, path: str) -> None:
        async with ScriptedUpstream(json({"a": 1})) as upstream, HttpClient(quick()) as client:
            server = Server(plugin=None, url=upstream.url + path, headers={"x-a": "b"})
            probe = Probe(client, server)
            status, headers, body = await probe.get("/v1/models")
            assert (status, body) == (200, b'{"a":1}')
            assert headers["content-type"] == "application/json"
            assert upstream.requests[0].path == "/v1/models"
            assert upstream.requests[0].headers["x-a"] == "b"
            assert upstream.requests[0].method == "GET"
            await probe.get("")
            assert upstream.requests[1].path == "/"
            assert probe.answered
            await probe.close()

    async def test_each_path_once(self) -> None:
        async with ScriptedUpstream(json({})) as upstream, HttpClient(quick()) as client:
            probe = Probe(client, Server(plugin=None, url=upstream.url))
            answers = await asyncio.gather(*(probe.get("/x") for _ in range(5)))
            assert len(answers) == 5
            assert len(upstream.requests) == 1
            await probe.close()

    async def test_errors_are_everybodys(self) -> None:
        async with ScriptedUpstream(play(reset)) as upstream, HttpClient(quick()) as client:
            probe = Probe(client, Server(plugin=None, url=upstream.url))
            results = await asyncio.gather(
                *(probe.get("/x") for _ in range(2)), return_exceptions=True
            )
            assert [type(r) for r in results] == [UpstreamDisconnected] * 2
            assert type(probe.error) is UpstreamDisconnected
            assert not probe.answered
            await probe.close()

    async def test_redirects_and_giants(self) -> None:
        script = redirect("http://127.0.0.1:1/")
        async with ScriptedUpstream(script) as upstream, HttpClient(quick()) as client:
            probe = Probe(client, Server(plugin=None, url=upstream.url))
            with pytest.raises(UpstreamRedirect):
                await probe.get("/x")
            upstream.script = whole(bytes(2**20 + 1))
            with pytest.raises(RelayError, match="larger than"):
                await probe.get("/y")
            await probe.close()

    async def test_closing_it_early(self) -> None:
        async with ScriptedUpstream(play(hang)) as upstream, HttpClient(quick()) as client:
            probe = Probe(client, Server(plugin=None, url=upstream.url))
            waiting = asyncio.create_task(probe.get("/x"))
            await until(lambda: upstream.answering, within=1)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await probe.close()
            await until(lambda: upstream.open == 0, within=2)


def knowing(rank: int, path: str = "/who") -> Any:
    """An `identify` that takes servers which answer `path` with 200."""

    async def identify(server: Server, get: Any) -> Identified | None:
        status, _, _ = await get(path)
        if status != 200:
            return None
        found = Server(plugin=f"p{rank}", url=server.url, shown="theirs", key=server.password)
        return Identified(server=found, rank=rank)

    return plain.module(identify=identify, list_models=no_list)


async def no_list(server: Server) -> list[Any]:
    return []


class TestIdentifying:
    async def test_the_highest_rank_decides(self) -> None:
        plugins = Plugins.of(p10=knowing(10), p50=knowing(50), p90=knowing(90, "/other"))

        async def serve(request: Received, answer: Answer) -> None:
            await json({}, 200 if request.path == "/who" else 404)(request, answer)

        async with ScriptedUpstream(serve) as upstream:
            text = upstream.url.replace("http://", "http://user:SECRET@")
            async with Kernel(quick(), [text], plugins) as kernel:
                await kernel.settled(20)
                server = kernel.status()[0].server
                assert (server.plugin, server.key) == ("p50", "SECRET")
                assert server.shown == upstream.url.replace("http://", "http://***@")
            assert sorted(r.path for r in upstream.requests) == ["/other", "/who"]
            assert {r.method for r in upstream.requests} == {"GET"}

    async def test_a_plugin_that_finds_nobodys_server(self) -> None:
        async def identify(server: Server, get: Any) -> Identified | None:
            return Identified(server=server, rank=5)

        plugins = Plugins.of(p=plain.module(identify=identify))
        async with (
            ScriptedUpstream(json({})) as upstream,
            Kernel(quick(), [upstream.url], plugins) as kernel,
        ):
            await kernel.settled(20)
            assert kernel.status()[0].stage in ("offline", "unidentified")
            assert kernel.models() == []

    async def test_a_slow_server_holds_up_no_other(self) -> None:
        plugins = Plugins.of(p10=knowing(10))
        async with (
            ScriptedUpstream(play(hang)) as slow,
            ScriptedUpstream(json({})) as good,
            Kernel(quick(), [slow.url, good.url], plugins) as kernel,
        ):
            await until(lambda: kernel.status()[1].stage == "ready", within=2)
            assert kernel.status()[0].stage == "opening"


async def test_a_server_that_was_never_there_stays_offline_while_it_is_looked_at(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A look at a black hole takes seconds: its state must not come and go with each."""
    looking = asyncio.Event()
    script = json({"error": "no"}, 500)
    async with (
        ScriptedUpstream(script) as upstream,
        Kernel(quick(), [f"vllm_chat:{upstream.url}/v1"]) as kernel,
    ):
        entry = kernel.entries[0]
        await until(lambda: entry.state()[0] == "offline", within=5)
        since = entry.since

        async def swallows(request: Received, answer: Answer) -> None:
            looking.set()
            await answer.hang()

        upstream.script = swallows
        await asyncio.wait_for(looking.wait(), 10)
        assert (entry.state()[0], entry.since) == ("offline", since)
        assert entry.seen
        caplog.set_level("INFO", "h2o_relay.catalog")
        upstream.script = json({"data": [{"id": "m"}]})
        for connection in list(upstream.connections):
            connection.abandon()
        await until(lambda: entry.state()[0] == "healthy", within=10)
        assert ": back" in caplog.text
