"""Servers on this machine, found by `h2o run` without a server; the ports are the test's own."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from h2o_relay import discovery
from h2o_relay.catalog import INSTANCE_FIELD
from h2o_relay.cli import main
from h2o_relay.commands import run as run_module
from h2o_relay.discovery import discover, ports_of
from h2o_relay.plugins import Plugins
from h2o_relay.settings import SettingError, Settings
from h2o_relay.testing import echo
from h2o_relay.testing.scripts import hang, play, redirect
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import ScriptedUpstream

from .identify_servers import (
    NOT_FOUND,
    OLLAMA,
    PRODUCTS,
    STRANGERS,
    VLLM,
    Background,
    Product,
    listed,
)

RELAY = Product({"/v1/models": listed("vllm", "m", **{INSTANCE_FIELD: "abc"})})


@pytest.fixture(scope="module")
def installed() -> Plugins:
    return Plugins.discover()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may stall for longer than anybody waits at a start."""
    monkeypatch.setattr(discovery, "LIMIT", 20.0)


def ports(*upstreams: ScriptedUpstream) -> str:
    return ",".join(str(upstream.port) for upstream in upstreams)


async def free_port() -> int:
    async with ScriptedUpstream(play()) as upstream:
        return upstream.port


@pytest.mark.usefixtures("leaves_nothing")
class TestDiscover:
    async def test_products_in_the_order_of_their_ports(self, installed: Plugins) -> None:
        names = ("ollama", "vllm", "tgi", "llama.cpp", "lm studio")
        async with AsyncExitStack() as stack:
            upstreams = [
                await stack.enter_async_context(ScriptedUpstream(PRODUCTS[name][0]))
                for name in names
            ]
            settings = quick(discover_ports=f"{await free_port()},{ports(*upstreams)}")
            found = await discover(installed, settings)
            assert [one.url for one in found] == [upstream.url for upstream in upstreams]
            assert [one.server.plugin for one in found if one.server] == [
                PRODUCTS[name][1] for name in names
            ]
            assert [one.server.shown for one in found if one.server] == [u.url for u in upstreams]
            assert {r.method for u in upstreams for r in u.requests} == {"GET"}

    @pytest.mark.parametrize("name", STRANGERS)
    async def test_other_programs_are_left_alone(self, name: str, installed: Plugins) -> None:
        async with ScriptedUpstream(STRANGERS[name]) as upstream:
            assert await discover(installed, quick(discover_ports=ports(upstream))) == []
            assert {request.method for request in upstream.requests} == {"GET"}

    async def test_a_redirect_is_not_followed(self, installed: Plugins) -> None:
        async with (
            ScriptedUpstream(Product(VLLM)) as behind,
            ScriptedUpstream(redirect(behind.url)) as upstream,
        ):
            assert await discover(installed, quick(discover_ports=ports(upstream))) == []
            assert not behind.requests

    async def test_who_wants_a_key_cannot_be_used(self, installed: Plugins) -> None:
        script = Product(VLLM, authorization="Bearer KEY", guarded=("/v1",))
        async with ScriptedUpstream(script) as upstream:
            [found] = await discover(installed, quick(discover_ports=ports(upstream)))
            assert (found.url, found.server, found.reason) == (upstream.url, None, "wants a key")

    async def test_a_program_with_a_login_is_left_alone(self, installed: Plugins) -> None:
        script = Product({}, (NOT_FOUND, 401))
        async with ScriptedUpstream(script) as upstream:
            assert await discover(installed, quick(discover_ports=ports(upstream))) == []

    async def test_another_relay_is_not_used(self, installed: Plugins) -> None:
        """Two relays that use each other would list each other's models without end."""
        async with ScriptedUpstream(RELAY) as upstream:
            [found] = await discover(installed, quick(discover_ports=ports(upstream)))
            assert (found.server, found.reason) == (None, "is another relay")
            assert [request.path for request in upstream.requests] == ["/v1/models"]

    @pytest.mark.parametrize("own", ["openai_port", "port"])
    async def test_our_own_ports_are_not_asked(self, own: str, installed: Plugins) -> None:
        async with ScriptedUpstream(Product(VLLM)) as upstream:
            settings = quick(discover_ports=ports(upstream), **{own: upstream.port})
            assert await discover(installed, settings) == []
            assert upstream.accepted == 0

    async def test_the_port_of_a_chat_ui_that_is_off_is_nobodys(self, installed: Plugins) -> None:
        async with ScriptedUpstream(Product(VLLM)) as upstream:
            settings = quick(discover_ports=ports(upstream), port=upstream.port, ui=False)
            assert [one.url for one in await discover(installed, settings)] == [upstream.url]

    async def test_one_that_hangs_costs_the_limit_and_hides_no_other(
        self, installed: Plugins, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(discovery, "LIMIT", 2.5)
        async with (
            ScriptedUpstream(play(hang)) as slow,
            ScriptedUpstream(Product(OLLAMA)) as good,
        ):
            start = asyncio.get_running_loop().time()
            found = await discover(installed, quick(discover_ports=ports(slow, good)))
            assert asyncio.get_running_loop().time() - start < 10
            assert [one.url for one in found] == [good.url]

    async def test_nobody_there_is_known_at_once_and_loads_no_plugin(self) -> None:
        start = asyncio.get_running_loop().time()
        nothing: Any = None
        assert await discover(nothing, quick(discover_ports=str(await free_port()))) == []
        assert asyncio.get_running_loop().time() - start < discovery.LIMIT


class TestPorts:
    def test_the_well_known_ones(self) -> None:
        assert set(ports_of(Settings().discover_ports)) == {11434, 8000, 8080, 3000, 1234}

    @pytest.mark.parametrize(
        ("text", "expected"), [("", ()), (" 1 , 2,1,", (1, 2)), ("65535", (65535,))]
    )
    def test_reading(self, text: str, expected: tuple[int, ...]) -> None:
        assert ports_of(text) == expected

    @pytest.mark.parametrize("text", ["0", "65536", "x", "-1", "8000-8010", "\u0661", "1;2"])
    def test_refusing(self, text: str) -> None:
        with pytest.raises(SettingError, match=r"--discover-ports: .* is not a port"):
            ports_of(text)


class TestRun:
    """`h2o run` up to where its frontend takes over."""

    @pytest.fixture
    def served(
        self, monkeypatch: pytest.MonkeyPatch, no_settings: None, echo_installed: None
    ) -> Iterator[list[tuple[Settings, list[Any]]]]:
        calls: list[tuple[Settings, list[Any]]] = []

        def serve(settings: Settings, servers: list[Any], **_: Any) -> int:
            calls.append((settings, servers))
            return 0

        monkeypatch.setattr(run_module, "frontend", lambda name: serve)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
        yield calls
        echo.journal.clear()

    def test_what_is_found_stands_beside_the_embedded_model(
        self, served: list[Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with Background(PRODUCTS["vllm"][0]) as vllm:
            words = ["run", f"--discover_ports={vllm.port}", "--system_prompt=Hi"]
            url = vllm.url
            assert main(words) == 0
        [(_, specs)] = served
        assert [spec.server.plugin for spec in specs] == ["echo", "vllm"]
        assert specs[1].server.shown == url
        assert {spec.tuning.system_prompt for spec in specs} == {"Hi"}
        note = f"h2o: note: found vllm at {url}, served as well (--no-discover leaves it out)"
        assert capsys.readouterr().err.splitlines() == [note]

    @pytest.mark.parametrize("visible", ["0", "['m']"])
    def test_visible_models_hold_for_them_too(
        self, served: list[Any], visible: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with Background(PRODUCTS["vllm"][0]) as vllm:
            words = ["run", f"--discover_ports={vllm.port}", f"--visible_models={visible}"]
            assert main(words) == 0
        first, second = (spec.visible for spec in served[0][1])
        expected = (True, frozenset()) if visible == "0" else (frozenset({"m"}),) * 2
        assert (first, second) == expected
        assert "found vllm" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "words", [("--no-discover",), ("--discover=False",), ("echo:a",), ("--base_model=x.gguf",),
                  ("--inference_server=echo",), ("--model_lock=[{'inference_server':'echo'}]",)],
    )  # fmt: skip
    def test_where_it_is_not_looked(
        self, served: list[Any], words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With it turned off, and wherever the operator said what is to be served."""
        monkeypatch.setattr("h2o_relay.commands.fetching.fetch_all", nothing_to_fetch)
        with Background(PRODUCTS["vllm"][0]) as vllm:
            assert main(["run", f"--discover-ports={vllm.port}", *words]) == 0
            assert vllm.accepted == 0
        assert len(served[0][1]) == 1

    def test_one_that_cannot_be_used_is_named(
        self, served: list[Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with Background(RELAY) as other:
            url = other.url
            assert main(["run", f"--discover-ports={other.port}"]) == 0
        assert len(served[0][1]) == 1
        assert capsys.readouterr().err == (
            f"h2o: note: {url} is another relay and is left out; name it to have it served\n"
        )

    def test_ports_that_are_none(
        self, served: list[Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["run", "--discover-ports=http"]) == 2
        assert capsys.readouterr().err.startswith("h2o: --discover-ports: 'http' is not a port")
        assert not served


async def nothing_to_fetch(*_: Any) -> list[Any]:
    return []
