"""`RemoteKernel` and `/admin` against a real API over a socket, with the echo behind it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from importlib import import_module
from typing import Any

import pytest

from h2o_relay.administration import Administration
from h2o_relay.errors import RelayError
from h2o_relay.kernel import Given, Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.remote import RemoteKernel
from h2o_relay.testing import echo
from h2o_relay.testing.scripts import json, sse
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import ScriptedUpstream
from h2o_relay_proxy.app import create_app
from h2o_relay_proxy.ports import address, bind
from h2o_relay_proxy.server import running

KEY = "internal-canary-51b2"
SECRET = "sk-entry-canary-9912"
HI = {"messages": [{"role": "user", "content": "one two three"}]}


class Kept:
    """A keeper in memory."""

    def __init__(self) -> None:
        self.entries: dict[str, Mapping[str, Any]] = {}

    async def all(self) -> Sequence[tuple[str, Mapping[str, Any]]]:
        return list(self.entries.items())

    async def put(self, id: str, entry: Mapping[str, Any]) -> None:
        self.entries[id] = entry

    async def delete(self, id: str) -> None:
        self.entries.pop(id, None)


@contextlib.asynccontextmanager
async def remote(
    *servers: Given, kept: Kept | None = None, key: str = KEY, **changes: Any
) -> AsyncIterator[tuple[RemoteKernel, Kernel]]:
    settings = quick(**changes)
    async with Kernel(settings, servers or ["echo:m"], Plugins.of(echo=echo)) as kernel:
        admin = Administration(kernel, kept)
        await admin.restore()
        sock = bind("127.0.0.1", 0)
        app = create_app(kernel, settings, kernel.instance, admin, KEY)
        async with (
            running(app, settings, sock),
            RemoteKernel(address(sock), key, quick()) as there,
        ):
            await there.settled(10)
            yield there, kernel


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110, nothing tells of it
            await asyncio.sleep(0.01)


def names(kernel: RemoteKernel) -> list[str]:
    return [deployment.name for deployment in kernel.models()]


async def test_a_stored_model_that_cannot_be_read_can_be_removed() -> None:
    kept = Kept()
    kept.entries["0badc0de"] = {"inference_server": "no-such-prefix:x", "base_model": "m"}
    async with remote(kept=kept) as (there, _):
        assert names(there) == ["m"]
        await there.remove("0badc0de")
        assert kept.entries == {}
        with pytest.raises(RelayError, match="no such deployment"):
            await there.remove("0badc0de")


async def test_it_answers_like_the_kernel() -> None:
    async with remote() as (there, kernel):
        assert names(there) == [model.name for model in kernel.models()] == ["m"]
        assert there.find(None).name == "m"
        async with there.stream("chat", {**HI, "model": "m"}) as answer:
            text = "".join([chunk.text async for chunk in answer])
        assert text == "one two three"
        whole = await there.generate("chat", {**HI, "model": "m"})
        assert whole.text == "one two three"


async def test_a_wrong_key_learns_nothing() -> None:
    async with remote(key="wrong") as (there, _):
        assert not there.models()
        (status,) = there.status()
        assert status.stage == "offline"
        assert "ADMIN_PASS" in status.reason
        with pytest.raises(RelayError) as caught:
            await there.system()
        assert caught.value.status == 401


async def test_a_model_is_added_used_hidden_changed_and_removed() -> None:
    kept = Kept()
    async with remote(kept=kept) as (there, _):
        entry = {"inference_server": "echo:new", "base_model": "Mine", "h2ogpt_key": SECRET,
                 "max_seq_len": 1234}  # fmt: skip
        id = await there.add(entry)
        await until(lambda: "Mine" in names(there))
        view = next(v for v in there.deployments() if v.name == "Mine")
        assert (view.id, view.added, view.max_context, view.model) == (id, True, 1234, "new")
        whole = await there.generate("chat", {**HI, "model": "Mine"})
        assert whole.text == "one two three"
        assert (await there.entry(id))["h2ogpt_key"] == "***"

        await there.change(id, {"visible": False})
        await until(lambda: "Mine" not in names(there))
        assert (await there.generate("chat", {**HI, "model": "Mine"})).text

        await there.change(id, {"base_model": "Other", "h2ogpt_key": "***", "visible": True})
        await until(lambda: "Other" in names(there))
        assert kept.entries[id]["h2ogpt_key"] == SECRET

        for changes in (
            {"inference_server": "vllm:h:2:None:***"},
            {"inference_server": "echo:***"},
        ):
            with pytest.raises(RelayError, match="write the key in its place"):
                await there.change(id, changes)
        with pytest.raises(RelayError, match="write the key in its place"):
            await there.add({"inference_server": "echo:x", "h2ogpt_key": "***"})
        assert kept.entries[id]["inference_server"] == "echo:new"

        await there.remove(id)
        await until(lambda: "Other" not in names(there))
        assert not kept.entries
        with pytest.raises(RelayError) as caught:
            await there.remove(id)
        assert caught.value.status == 404


async def test_what_was_added_is_there_after_a_restart() -> None:
    kept = Kept()
    async with remote(kept=kept) as (there, _):
        id = await there.add({"inference_server": "echo:new", "base_model": "Mine"})
        await there.add({"inference_server": "echo:gone", "base_model": "Hidden", "visible": False})
    kept.entries["broken"] = {"inference_server": "nothing:that:is:read"}
    async with remote(kept=kept) as (there, _):
        assert names(there) == ["m", "Mine"]
        assert next(v for v in there.deployments() if v.name == "Mine").id == id
        assert (await there.generate("chat", {**HI, "model": "Hidden"})).text


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"inference_server": "nope:x"}, "nope"),
        ({"inference_server": "echo:m", "colour": 1}, "colour"),
        ({"inference_server": "echo:m", "base_model": "b", "max_seq_len": 0}, "max_seq_len"),
        ({"inference_server": "echo:m", "visible": "yes"}, "visible"),
        ({}, "inference_server"),
    ],
)
async def test_an_entry_that_cannot_be_read_is_refused(entry: dict[str, Any], words: str) -> None:
    async with remote() as (there, kernel):
        with pytest.raises(RelayError) as caught:
            await there.add(entry)
        assert caught.value.status == 400
        assert words in caught.value.message
        assert "model-lock" not in caught.value.message
        assert len(kernel.entries) == 1


async def test_what_was_given_at_the_start_can_be_hidden_only() -> None:
    async with remote() as (there, kernel):
        (view,) = there.deployments()
        for doing in (there.remove(view.id), there.change(view.id, {"base_model": "x"})):
            with pytest.raises(RelayError) as caught:
                await doing
            assert caught.value.status == 403
        await there.change(view.id, {"visible": False})
        await until(lambda: not names(there))
        assert kernel.find("m").visible is False


async def test_a_look_adds_nothing() -> None:
    async with remote() as (there, kernel):
        found = await there.identify({"inference_server": "echo:other"})
        assert (found.plugin, found.problem) == ("echo", "")
        assert [model.id for model in found.models] == ["other"]
        gone = await there.identify({"inference_server": "http://127.0.0.1:9", "base_model": "x"})
        assert gone.plugin is None
        assert gone.problem
        assert len(kernel.entries) == 1


async def test_counters_move() -> None:
    async with remote() as (there, _):
        tried = await there.try_out("m")
        assert tried.ok
        async with there.stream("chat", {**HI, "model": "m"}) as answer:
            async for _chunk in answer:
                pass
        await until(lambda: there.deployments()[0].requests >= 2)
        view = there.deployments()[0]
        assert view.latency is not None
        assert view.tokens >= 3
        assert view.running == view.waiting == view.failures == 0
        (one,) = await there.series()
        assert one.name == "m"
        assert sum(one.requests) == view.requests
        assert len(one.tokens) == len(one.latency) == 120


async def test_events_come_at_once_and_end_with_their_reader() -> None:
    async with remote() as (there, kernel):
        async with aclosing(there.changes()) as changes:
            first = await anext(changes)
            assert [view.name for view in first] == ["m"]
            id = await there.add({"inference_server": "echo:new", "base_model": "Mine"})
            async with asyncio.timeout(10):
                async for views in changes:
                    if any(view.id == id for view in views):
                        break
        assert len(kernel.entries) == 2


async def test_the_system_holds_no_secret() -> None:
    store = f"postgresql+psycopg://u:{SECRET}@host/name?password={SECRET}"
    proxy = f"http://u:{SECRET}@proxy:1"
    async with remote(api_key=SECRET, http_proxy=proxy, store=store) as (there, _):
        system = await there.system()
        assert system.settings["store"] == "postgresql+psycopg://***@host/name"
        assert system.settings["api_key"] == "***"
        assert SECRET not in repr(system)
        assert any(plugin["name"] == "echo" for plugin in system.plugins)


async def test_it_finds_a_relay_that_was_away() -> None:
    settings = quick()
    sock = bind("127.0.0.1", 0)
    url = address(sock)
    async with RemoteKernel(url, KEY, quick()) as there:
        await asyncio.sleep(0)
        async with Kernel(settings, ["echo:m"], Plugins.of(echo=echo)) as kernel:
            app = create_app(kernel, settings, kernel.instance, Administration(kernel), KEY)
            async with running(app, settings, sock):
                await until(lambda: names(there) == ["m"])
        await until(lambda: there.status()[0].stage == "offline")


@pytest.mark.parametrize("event", [b"{", b"[]", b'{"data":[{"id":"x","name":"y"}]}'])
async def test_what_is_no_relay_is_said_and_asked_again(event: bytes) -> None:
    async with (
        ScriptedUpstream(sse([event])) as upstream,
        RemoteKernel(upstream.url, KEY, quick()) as it,
    ):
        for _ in range(2):
            await until(lambda: "no relay" in it.status()[0].reason)
            upstream.requests.clear()
            await until(lambda: any("changes" in each.path for each in upstream.requests))
        upstream.script = json([1])
        with pytest.raises(RelayError, match="no relay"):
            await it.system()


async def test_a_look_starts_no_engine_but_asks_servers() -> None:
    async with Kernel(quick(), [], Plugins.discover("vllm,llama_cpp")) as kernel:
        admin = Administration(kernel)
        engine = await admin.identify({"inference_server": "llama_cpp:/nowhere/model.gguf"})
        assert (engine.plugin, engine.problem, engine.models) == ("llama_cpp", "", ())
        server = await admin.identify({"inference_server": "vllm_chat:127.0.0.1:9"})
        assert server.plugin == "vllm"
        assert "could not be reached" in server.problem


async def test_a_look_at_the_relay_itself_says_so() -> None:
    plugins = Plugins.of(echo=echo, vllm=import_module("h2o_relay_vllm"))
    async with Kernel(quick(), ["echo:m"], plugins) as kernel:
        admin, sock = Administration(kernel), bind("127.0.0.1", 0)
        await kernel.settled(10)
        async with running(create_app(kernel, quick(), kernel.instance), quick(), sock):
            found = await admin.identify({"inference_server": f"vllm:{address(sock)}/v1"})
            assert "the relay itself" in found.problem
