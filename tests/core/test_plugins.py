"""Plugins: what is accepted, what is left out and why, and how hooks are bound."""

import inspect
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import pluggy
import pytest

from h2o_relay import hookspecs
from h2o_relay.chunks import Chunk, Completion
from h2o_relay.errors import BadServerString, PluginError
from h2o_relay.hookspecs import hookimpl
from h2o_relay.http import HttpClient
from h2o_relay.plugins import Plugins
from h2o_relay.types import Call, Capabilities, Deployment, Load, Request, Server, Target

from . import plain

SERVER = Server(plugin="plain", url="http://h/v1")
CALL = Call(method="GET", path="/models")
REQUEST = Request(
    kind="chat", params={}, body=None,
    deployment=Deployment(name="a", server=SERVER, model="a"),
)  # fmt: skip


def why(module: ModuleType, name: str = "plain") -> str:
    """Why a plugin is left out; a sound one beside it must go on."""
    plugins = Plugins.of(**{name: module}, sound=plain.module())
    with pytest.raises(PluginError) as caught:
        plugins.get(name)
    infos = {info.name: info for info in plugins.infos()}
    assert infos["sound"].error is None
    assert plugins.get("sound").hooks == {"parse_server_string", "target"}
    error = infos[name].error
    assert error is not None
    assert error in str(caught.value)
    assert name in str(caught.value)
    assert infos[name].hooks == ()
    assert [p.name for p in plugins.usable()] == ["sound"]
    return error


def made(**hooks: Any) -> ModuleType:
    return plain.module(**hooks)


class TestQuarantine:
    @pytest.mark.parametrize(
        ("hooks", "words"),
        [
            ({"steam": lambda server: None}, "steam"),
            ({"target": None}, "needs target, or generate and stream"),
            ({"parse_server_string": None}, "has no parse_server_string"),
            ({"target": lambda server, call, more: None}, "more"),
            ({"target": lambda server, kall: None}, "kall"),
            ({"target": lambda server, call=None: None}, "without defaults"),
            ({"target": lambda server, *, call: None}, "by position"),
            ({"target": lambda server, *rest: None}, "by position"),
            ({"target": lambda server, **rest: None}, "by position"),
            ({"stream": lambda server, client, request: None}, "async generator"),
            ({"fix_text": lambda text, final=False: text}, "without defaults"),
        ],
    )
    def test_hooks_that_do_not_fit(self, hooks: dict[str, Any], words: str) -> None:
        error = why(made(**hooks))
        assert words in error
        name = next(iter(hooks))
        if hooks[name] is not None and name != "steam":
            assert name in error, "the hook is named"

    def test_kinds_that_do_not_fit(self) -> None:
        async def coroutine(server: Server) -> Any:
            return None

        async def generator(server: Server) -> AsyncIterator[None]:
            yield

        def plain_generator(server: Server, client: Any, request: Request) -> Any:
            yield Chunk(b"")

        for name in ("capabilities", "target", "fix_text", "connect", "forward"):
            assert "must be a plain function" in why(made(**{name: coroutine}))
            assert "must be a plain function" in why(made(**{name: generator}))
        for name in ("generate", "list_models", "load", "count_tokens", "set_loaded", "fetch"):
            assert "must be a coroutine function" in why(made(**{name: lambda server: None}))
            assert "must be a coroutine function" in why(made(**{name: generator}))
        assert "must be a coroutine function" in why(made(identify=lambda server, get: None))
        assert "async generator" in why(made(stream=coroutine))
        assert "async generator" in why(made(stream=plain_generator))

        async def parse(text: str) -> Server | None:
            return None

        error = why(made(parse_server_string=parse))
        assert "hook parse_server_string(text: str)" in error
        assert "must be a plain function" in error

    def test_only_one_of_generate_and_stream(self) -> None:
        async def generate(server: Server) -> Any:
            return None

        async def stream(server: Server) -> AsyncIterator[Chunk]:
            yield Chunk(b"")

        assert "needs target" in why(made(target=None, generate=generate))
        assert "needs target" in why(made(target=None, stream=stream))
        assert Plugins.of(p=made(target=None, generate=generate, stream=stream)).get("p")

    def test_wrappers(self) -> None:
        module = made()

        @pluggy.HookimplMarker(hookspecs.PROJECT)(wrapper=True)
        def target(server: Server) -> Any:
            return (yield)

        module.target = target  # type: ignore[attr-defined]
        assert "wrapper" in why(module)

    @pytest.mark.parametrize(
        "error", [ValueError("bad\n  config"), SystemExit(3), ImportError("x")]
    )
    def test_a_failing_import(
        self,
        error: BaseException,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        plugins = Plugins.of(broken=made(), sound=made())
        tried = []

        def source() -> ModuleType:
            tried.append(1)
            raise error

        monkeypatch.setattr(plugins._found["broken"], "source", source)
        with caplog.at_level(logging.WARNING, "h2o_relay.plugins"):
            for _ in range(3):
                with pytest.raises(PluginError, match="broken"):
                    plugins.get("broken")
                assert [p.name for p in plugins.usable()] == ["sound"]
        assert len(tried) == 1
        assert [r.getMessage() for r in caplog.records] == [
            f"plugin broken is left out: {plugins.infos()[0].error}"
        ]
        assert "\n" not in str(plugins.infos()[0].error)

    def test_a_missing_dependency_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plugins = Plugins.of(broken=made())

        def source() -> ModuleType:
            import not_installed_anywhere.at_all  # type: ignore[import-not-found]  # noqa: F401

            raise AssertionError

        monkeypatch.setattr(plugins._found["broken"], "source", source)
        error = plugins.infos()[0].error
        assert error == "it needs the package 'not_installed_anywhere', which is not installed"

    def test_reserved_prefixes(self) -> None:
        assert "reserved prefix 'http'" in why(made(), "http")
        assert "reserved prefix 'https'" in why(made(), "https")

    def test_an_unknown_plugin(self) -> None:
        with pytest.raises(PluginError, match="no plugin named 'x' is installed"):
            Plugins.of().get("x")


class TestBinding:
    def test_parameters_may_be_left_out_and_reordered(self) -> None:
        seen: list[Any] = []

        def fix_text(final: bool, server: Server) -> str:
            seen.append((final, server))
            return "x"

        async def count_tokens(request: Request) -> int:
            return len(request.params)

        plugin = plain.plugin(fix_text=fix_text, count_tokens=count_tokens)
        assert plugin.fix_text(SERVER, REQUEST, "text", True) == "x"
        assert seen == [(True, SERVER)]
        assert plugin.hooks >= {"fix_text", "count_tokens"}

    async def test_defaults(self) -> None:
        plugin = plain.plugin()
        assert plugin.fix_text(SERVER, REQUEST, "text", True) == "text"
        assert plugin.capabilities(SERVER) == Capabilities()
        assert await plugin.load(SERVER, None) == Load()
        assert await plugin.count_tokens(SERVER, None, REQUEST) is None
        assert await plugin.fetch(SERVER, lambda done, total, what: None) is None
        assert (plugin.connect, plugin.identify, plugin.set_loaded) == (None, None, None)
        assert plugin.target(SERVER, CALL) == Target(method="GET", url="http://h/v1/models")

    async def test_defaults_of_a_plugin_without_target(self) -> None:
        async def generate() -> Completion:
            return Completion.of(["a"], id="i", model="m")

        async def stream() -> AsyncIterator[Chunk]:
            yield Chunk.of("a", id="i", model="m")

        plugin = plain.plugin(target=None, generate=generate, stream=stream)
        assert plugin.target(SERVER, CALL) is None
        assert await plugin.list_models(SERVER, None) == []
        assert (await plugin.generate(SERVER, None, REQUEST)).text == "a"
        assert [c.text async for c in plugin.stream(SERVER, None, REQUEST)] == ["a"]

    def test_a_context_manager_is_a_plain_function(self) -> None:
        @asynccontextmanager
        async def connect(server: Server, http: HttpClient) -> AsyncIterator[Any]:
            yield None

        assert plain.plugin(connect=connect).connect is connect

    def test_a_hook_of_a_newer_core(self) -> None:
        module = made()

        @hookimpl(optionalhook=True)
        def from_the_future(server: Server) -> None: ...

        module.from_the_future = from_the_future  # type: ignore[attr-defined]
        assert Plugins.of(p=module).get("p").hooks == {"parse_server_string", "target"}

    def test_a_plugin_is_bound_once(self) -> None:
        plugins = plain.plugins()
        assert plugins.get("plain") is plugins.get("plain")

    @pytest.mark.parametrize("name", [n for n in hookspecs.HOOKS if n != "parse_server_string"])
    def test_every_hook_takes_all_of_its_arguments(self, name: str) -> None:
        """Also one that wants none of them."""
        spec = getattr(hookspecs, name)
        count = len(inspect.signature(spec).parameters)
        calls: list[int] = []
        hook: Callable[..., Any]
        if name == "stream":

            async def hook() -> AsyncIterator[Chunk]:
                calls.append(1)
                yield Chunk(b"")

        elif inspect.iscoroutinefunction(spec):

            async def hook() -> None:
                calls.append(1)

        else:

            def hook() -> None:
                calls.append(1)

        bound = getattr(plain.plugin(**{name: hook}), name)
        result = bound(*range(count))
        if inspect.iscoroutine(result):
            result.close()
        if not inspect.iscoroutinefunction(spec) and name != "stream":
            assert calls == [1]


class TestParsing:
    def test_by_prefix(self) -> None:
        assert plain.plugins().parse("plain:h:80").url == "http://h:80/v1"
        assert plain.plugins().parse("http://h:80").plugin is None

    def test_a_plugin_that_does_not_know_its_own_string(self) -> None:
        for result in (None, {"url": "x"}, "x"):
            plugins = plain.plugins(parse_server_string=lambda text, result=result: result)
            with pytest.raises((BadServerString, PluginError), match="plain"):
                plugins.parse("plain:h:80:None:KEY")

    def test_a_plugin_that_raises(self) -> None:
        def parse(text: str) -> Server:
            raise KeyError(text)

        with pytest.raises(PluginError, match="plain") as caught:
            plain.plugins(parse_server_string=parse).parse("plain:h:80:None:SECRET")
        assert "SECRET" not in str(caught.value)

    def test_two_claims_on_a_prefix(self) -> None:
        plugins = Plugins.of(plain=made(), other=made())
        plugins._claim("plain", "other")
        with pytest.raises(BadServerString, match="claimed by plain and other"):
            plugins.parse("plain:h")
        with pytest.raises(BadServerString, match="plugin other cannot read it"):
            plugins.parse("other:h:80")

    def test_a_broken_plugins_string(self) -> None:
        with pytest.raises(PluginError, match="'plain' is left out"):
            plain.plugins(target=None).parse("plain:h:80:None:KEY")

    def test_no_plugins_at_all(self) -> None:
        plugins = Plugins.discover("")
        assert plugins.names() == []
        assert plugins.parse("http://h").url == "http://h"
        with pytest.raises(BadServerString, match="Known: http, https"):
            plugins.parse("vllm:h")
