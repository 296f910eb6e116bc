"""The kernel with real servers behind it: names in, answers out, and nothing left behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from h2o_relay import catalog
from h2o_relay.chunks import Chunk, Completion
from h2o_relay.errors import (
    ModelNotFound,
    Overloaded,
    PluginError,
    RelayError,
    UpstreamBadResponse,
    UpstreamDisconnected,
    UpstreamIncomplete,
    UpstreamRejected,
    UpstreamUnavailable,
)
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.testing import OpenAIWire
from h2o_relay.testing.scripts import Play, end, hang, json, play, reset, sse, whole
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, Script, ScriptedUpstream, until
from h2o_relay.types import Call, Capabilities, Identified, Model, Request, Server

from . import plain

pytestmark = pytest.mark.usefixtures("leaves_nothing")
WIRE = OpenAIWire()
ASK = {"messages": [{"role": "user", "content": "hi"}]}
TEXTS = ["a ", "b ", "c"]


class Backend:
    """A script: lists models, and answers with `reply` or with `TEXTS`."""

    def __init__(self, *names: str, reply: Script | None = None, listing: Script | None = None):
        self.names, self.reply, self.listing = names, reply, listing

    async def __call__(self, request: Received, answer: Answer) -> None:
        if request.path == "/version":
            await json({}, 404)(request, answer)
        elif WIRE.is_listing(request):
            await (self.listing or WIRE.listing(self.names))(request, answer)
        elif self.reply is not None:
            await self.reply(request, answer)
        else:
            await WIRE.reply(request, TEXTS)(request, answer)


def asked(upstream: ScriptedUpstream) -> list[Received]:
    return [request for request in upstream.requests if not WIRE.is_listing(request)]


@contextlib.asynccontextmanager
async def running(
    *scripts: Script,
    plugins: Plugins | None = None,
    base_models: tuple[str | None, ...] = (),
    settle: bool = True,
    **changes: Any,
) -> AsyncIterator[tuple[Kernel, list[ScriptedUpstream]]]:
    """A kernel with one plain server for each script."""
    async with contextlib.AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(ScriptedUpstream(s)) for s in scripts]
        servers: Any = [f"plain:{upstream.url}/v1" for upstream in upstreams]
        if base_models:
            servers = list(zip(servers, base_models, strict=True))
        kernel = Kernel(quick(**changes), servers, plugins or plain.plugins())
        async with kernel:
            if settle:
                await kernel.settled(20)
            yield kernel, upstreams
        await until(lambda: all(upstream.open == 0 for upstream in upstreams), within=1)


async def read(kernel: Kernel, kind: Any = "chat", **params: Any) -> str:
    text = ""
    async with kernel.stream(kind, {**ASK, **params}) as answer:
        async for chunk in answer:
            text += chunk.text
    return text


async def fail(kernel: Kernel, how: str = "stream", **params: Any) -> RelayError:
    with pytest.raises(RelayError) as caught:
        await (
            read(kernel, **params)
            if how == "stream"
            else kernel.generate("chat", {**ASK, **params})
        )
    return caught.value


def names(kernel: Kernel) -> list[str]:
    return [deployment.name for deployment in kernel.models()]


class TestNames:
    async def test_a_server_stands_for_all_it_lists(self) -> None:
        async with running(Backend("a", "b", "b"), Backend("c")) as (kernel, upstreams):
            assert names(kernel) == ["a", "b", "c"]
            assert [s.stage for s in kernel.status()] == ["ready", "ready"]
            assert [m.id for m in kernel.status()[0].models] == ["a", "b", "b"]
            assert await read(kernel, model="c") == "a b c"
            assert asked(upstreams[1])[0].json()["model"] == "c"
            assert kernel.find("b").owned_by == "plain"

    async def test_no_name_is_the_first(self) -> None:
        async with running(Backend("a", "b")) as (kernel, upstreams):
            assert await read(kernel) == "a b c"
            assert (await kernel.generate("chat", ASK)).text == "a b c"
            assert [r.json()["model"] for r in asked(upstreams[0])] == ["a", "a"]

    async def test_names_that_are_taken(self) -> None:
        scripts = Backend("a", "a_1"), Backend("a", "b"), Backend("a")
        async with running(*scripts) as (kernel, upstreams):
            assert names(kernel) == ["a", "a_1", "a_2", "b", "a_3"]
            assert await read(kernel, model="a_2") == "a b c"
            assert await read(kernel, model="a_3") == "a b c"
            assert [len(asked(u)) for u in upstreams] == [0, 1, 1]
            assert asked(upstreams[1])[0].json()["model"] == "a"

    @pytest.mark.parametrize(
        ("listed", "upstream_name", "reason"),
        [
            (["theirs"], "theirs", ""),
            (["mine", "theirs"], "mine", ""),
            ([], "mine", ""),
        ],
    )
    async def test_a_base_model(self, listed: list[str], upstream_name: str, reason: str) -> None:
        backend = Backend(*listed)
        async with running(backend, base_models=("mine",)) as (kernel, upstreams):
            assert names(kernel) == ["mine"]
            assert kernel.find("mine").base_model == "mine"
            assert kernel.status()[0].reason == reason
            await read(kernel, model="mine")
            assert asked(upstreams[0])[0].json()["model"] == upstream_name
            assert (await fail(kernel, model="theirs")).status == 404

    async def test_a_base_model_that_its_server_does_not_list(self) -> None:
        async with running(Backend("x", "y"), base_models=("mine",)) as (kernel, upstreams):
            [status] = kernel.status()
            reason = "the server does not list mine, but x, y"
            assert (status.stage, status.reason) == ("mismatch", reason)
            assert kernel.find("mine").base_model == "mine", "it stays listed"
            error = await fail(kernel, model="mine")
            assert (type(error), reason in error.message) == (ModelNotFound, True)
            assert not asked(upstreams[0])

    async def test_a_model_that_nobody_has(self) -> None:
        async with running(Backend("llama-3.1-8b", "mistral")) as (kernel, _):
            error = await fail(kernel, model="llama-3.1-80b")
            assert (type(error), error.status, error.param) == (ModelNotFound, 404, "model")
            assert "`llama-3.1-80b` does not exist" in error.message
            assert "llama-3.1-8b" in error.message
            assert "mistral" in (await fail(kernel, model="zzz")).message
            shown = (await fail(kernel, model="<b>\x1b[31m" + "x" * 500)).message
            assert shown.isprintable()
            assert "<" not in shown
            assert len(shown) < 300

    async def test_no_models_at_all(self) -> None:
        async with running(Backend()) as (kernel, _):
            assert kernel.models() == []
            assert "--base_model" in kernel.status()[0].reason
            assert type(await fail(kernel)) is UpstreamUnavailable
            assert "No model is available" in (await fail(kernel, model="a")).message
        async with Kernel(quick(), [], plain.plugins()) as empty:
            await empty.settled(20)
            assert type(await fail(empty)) is UpstreamUnavailable

    async def test_contexts_are_known(self) -> None:
        entry = {"id": "a", "max_model_len": 4096}
        async with running(Backend(listing=json({"data": [entry]}))) as (kernel, _):
            assert kernel.find("a").max_context == 4096
            assert kernel.status()[0].models[0].raw == entry


class TestServersThatAreAway:
    async def test_they_hold_up_nobody(self) -> None:
        scripts = Backend(listing=play(hang)), play(reset), Backend("a")
        async with running(*scripts, settle=False) as (kernel, _):
            async with asyncio.timeout(kernel.settings.request_timeout):
                assert await read(kernel, model="a") == "a b c"
            await until(lambda: kernel.status()[1].stage == "offline", within=1)
            states = [status.stage for status in kernel.status()]
            assert states == ["listing", "offline", "ready"]
            assert "broke off" in kernel.status()[1].reason
            assert names(kernel) == ["a"]

    async def test_the_first_request_waits_for_the_first_look(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("h2o_relay.kernel.PATIENCE", 20.0)
        listing = play(0.2) + WIRE.listing(["a"])
        async with running(Backend(listing=listing), settle=False) as (kernel, _):
            assert kernel.models() == []
            assert await read(kernel, model="a") == "a b c"

    async def test_it_waits_for_no_longer_than_it_must(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("h2o_relay.kernel.PATIENCE", 20.0)
        listing = play(0.2) + WIRE.listing(["a"])
        async with running(Backend(listing=listing), settle=False) as (kernel, _):
            start = asyncio.get_running_loop().time()
            assert type(await fail(kernel, model="b")) is ModelNotFound
            assert 0.15 < asyncio.get_running_loop().time() - start < 10
            start = asyncio.get_running_loop().time()
            assert type(await fail(kernel, model="b")) is ModelNotFound
            assert asyncio.get_running_loop().time() - start < 4

    async def test_patience_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("h2o_relay.kernel.PATIENCE", 0.1)
        silent = Backend(listing=play(hang))
        async with running(silent, base_models=("mine",), settle=False) as (kernel, upstreams):
            assert await read(kernel, model="mine") == "a b c"
            assert asked(upstreams[0])[0].json()["model"] == "mine"
            assert type(await fail(kernel, model="other")) is ModelNotFound

    async def test_one_that_comes_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(catalog, "FIRST_WAIT", 0.05)
        async with running(play(reset), Backend("b")) as (kernel, upstreams):
            assert [s.stage for s in kernel.status()] == ["offline", "ready"]
            upstreams[0].script = Backend("a")
            await until(lambda: kernel.status()[0].stage == "ready", within=1)
            assert names(kernel) == ["a", "b"]
            assert kernel.status()[0].reason == ""
            assert await read(kernel, model="a") == "a b c"

    async def test_one_that_goes_away_keeps_its_models(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(catalog, "FIRST_WAIT", 0.05)
        async with running(Backend("a"), refresh=0.1) as (kernel, upstreams):
            upstreams[0].script = play(reset)
            await until(lambda: kernel.status()[0].stage == "offline", within=1)
            assert names(kernel) == ["a"]
            assert type(await fail(kernel, model="a")) is UpstreamDisconnected
            upstreams[0].script = Backend("a", "b")
            await until(lambda: names(kernel) == ["a", "b"], within=1)

    async def test_a_reason_is_logged_once(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(catalog, "FIRST_WAIT", 0.01)
        monkeypatch.setattr(catalog, "LONGEST_WAIT", 0.01)
        async with running(play(reset)) as (_, upstreams):
            await until(lambda: len(upstreams[0].requests) > 3, within=1)
        warnings = [r for r in caplog.records if r.levelname == "WARNING"]
        assert len(warnings) == 1

    @pytest.mark.parametrize("base_model", [None, "mine"])
    async def test_a_relay_that_points_at_itself(self, base_model: str | None) -> None:
        kernels: list[Kernel] = []

        async def itself(request: Received, answer: Answer) -> None:
            field = {catalog.INSTANCE_FIELD: kernels[0].instance}
            await json({"data": [{"id": "mine", **field}]})(request, answer)

        backend = Backend(listing=itself)
        async with running(backend, base_models=(base_model,), settle=False) as (kernel, upstreams):
            kernels.append(kernel)
            await kernel.settled(20)
            status = kernel.status()[0]
            assert (status.stage, status.models) == ("offline", ())
            assert "points at the relay itself" in status.reason
            assert (await fail(kernel, model="mine")).status in (404, 503)
            assert not asked(upstreams[0]), "no request goes round in circles"


class TestBareURLs:
    @contextlib.asynccontextmanager
    async def bare(self, script: Script, plugins: Plugins, **changes: Any) -> Any:
        async with ScriptedUpstream(script) as upstream:
            async with Kernel(quick(**changes), [upstream.url], plugins) as kernel:
                yield kernel, upstream
            await until(lambda: upstream.open == 0, within=1)

    async def test_the_plugins_say_whose_it_is(self) -> None:
        async def serve(request: Received, answer: Answer) -> None:
            if request.path == "/version":
                await json({"version": "0.9"})(request, answer)
            elif request.path == "/v1/models":
                await json({"data": [{"id": "a", "owned_by": owner}]})(request, answer)
            elif request.method == "POST":
                await WIRE.reply(request, TEXTS)(request, answer)
            else:
                await json({}, 404)(request, answer)

        for plugin in ("vllm", "openai"):
            owner = plugin
            async with self.bare(serve, Plugins.discover("openai,vllm")) as (kernel, upstream):
                await kernel.settled(20)
                status = kernel.status()[0]
                assert (status.server.plugin, status.stage) == (plugin, "ready")
                assert status.server.shown == upstream.url
                assert await read(kernel, model="a") == "a b c"
                paths = [r.path for r in upstream.requests if r.method == "GET"]
                assert paths.count("/version") == 1, "each path is asked for once"

    async def test_nobody_knows_it(self) -> None:
        async with self.bare(json({}, 404), Plugins.discover("openai,vllm")) as (kernel, _):
            await kernel.settled(20)
            status = kernel.status()[0]
            assert (status.stage, status.server.plugin) == ("unidentified", None)
            assert "no installed plugin recognises it" in status.reason
            assert type(await fail(kernel)) is UpstreamUnavailable

    async def test_it_is_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(catalog, "FIRST_WAIT", 0.05)
        async with self.bare(play(reset), Plugins.discover("openai,vllm")) as (kernel, upstream):
            await kernel.settled(20)
            assert kernel.status()[0].stage == "offline"
            upstream.script = Backend("a")
            await until(lambda: names(kernel) == ["a"], within=1)

    async def test_a_tie(self) -> None:
        async def identify(server: Server, get: Any) -> Any:
            status, _, _ = await get("")
            return Identified(server=replace(server, plugin="plain"), rank=status)

        plugins = Plugins.of(
            plain=plain.module(identify=identify), b=plain.module(identify=identify)
        )
        async with self.bare(json({}), plugins) as (kernel, _):
            await kernel.settled(20)
            assert kernel.status()[0].stage == "unidentified"
            assert "both take this server for theirs" in kernel.status()[0].reason

    async def test_a_plugin_that_fails_is_not_asked_twice(self) -> None:
        async def identify(server: Server, get: Any) -> Any:
            raise ValueError("not mine, I think")

        async with self.bare(json({}), plain.plugins(identify=identify)) as (kernel, _):
            await kernel.settled(20)
            assert kernel.status()[0].stage == "unidentified"

    async def test_closing_in_the_middle_leaves_nothing(self) -> None:
        async with self.bare(play(hang), Plugins.discover("openai,vllm")) as (_, upstream):
            await until(lambda: upstream.answering >= 2, within=1)


class TestStreams:
    async def test_a_request_need_not_say_stream(self) -> None:
        async with running(Backend("a")) as (kernel, upstreams):
            assert await read(kernel) == "a b c"
            assert asked(upstreams[0])[0].json() == {**ASK, "stream": True, "model": "a"}

    async def test_the_callers_bytes_arrive(self) -> None:
        params = {**ASK, "stream": True, "model": "a", "x": 1.0}
        body = orjson.dumps(params, option=orjson.OPT_INDENT_2)
        async with running(Backend("a")) as (kernel, upstreams):
            async with kernel.stream("chat", params, body) as answer:
                assert [c async for c in answer]
                assert answer.deployment is not None
                assert answer.deployment.name == "a"
            assert asked(upstreams[0])[0].body == body

    @pytest.mark.parametrize(
        ("rest", "error"),
        [
            (play(reset), UpstreamDisconnected),
            (play(end), UpstreamDisconnected),
            (play(b"0\r\n\r\n"), UpstreamIncomplete),
            (sse([]).upto(1), UpstreamIncomplete),
            (play(b'f\r\ndata: {"error":\r\n', end), UpstreamDisconnected),
        ],
    )
    async def test_a_stream_that_breaks_off(self, rest: Play, error: type[RelayError]) -> None:
        """Every whole event before it arrives, then the error."""
        broken = play(*rest.steps[1:]) if rest.wire.startswith(b"HTTP") else rest

        async def reply(request: Received, answer: Answer) -> None:
            await (sse(WIRE.payloads(request, TEXTS)).upto(3) + broken)(request, answer)

        async with running(Backend("a", reply=reply)) as (kernel, upstreams):
            got: list[str] = []

            async def collect() -> None:
                async with kernel.stream("chat", ASK) as answer:
                    async for chunk in answer:
                        got.append(chunk.text)  # noqa: PERF401

            with pytest.raises(error):
                await collect()
            assert "".join(got) == "a b "
            assert len(asked(upstreams[0])) == 1, "nothing is tried again after the first byte"

    async def test_done_without_a_finish_reason(self) -> None:
        async def reply(request: Received, answer: Answer) -> None:
            await sse(WIRE.payloads(request, TEXTS, None))(request, answer)

        async with running(Backend("a", reply=reply)) as (kernel, _):
            assert type(await fail(kernel)) is UpstreamIncomplete
        some = plain.plugins(capabilities=lambda: Capabilities(finishes=False))
        async with running(Backend("a", reply=reply), plugins=some) as (kernel, _):
            assert await read(kernel) == "a b c"

    async def test_an_empty_stream(self) -> None:
        async with running(Backend("a", reply=sse([]))) as (kernel, _):
            assert type(await fail(kernel)) is UpstreamIncomplete

    async def test_an_error_in_the_first_event_is_a_refusal(self) -> None:
        error = {"error": {"message": "no", "type": "t", "param": "p", "code": 400}}
        async with running(Backend("a", reply=sse([orjson.dumps(error)]))) as (kernel, _):
            with pytest.raises(UpstreamRejected) as caught:
                await kernel.stream("chat", ASK).__aenter__()
            assert (caught.value.status, caught.value.message) == (400, "no")

    async def test_an_error_later_comes_after_what_was_good(self) -> None:
        async def reply(request: Received, answer: Answer) -> None:
            wire = WIRE.failing(request, TEXTS, "no more").wire
            await answer.send(wire)

        async with (
            running(Backend("a", reply=reply)) as (kernel, _),
            kernel.stream("chat", ASK) as answer,
        ):
            assert (await anext(answer)).text == "a b c"
            for _ in range(2):
                with pytest.raises(UpstreamBadResponse, match="no more"):
                    await anext(answer)

    async def test_a_wrong_shape_is_a_bad_response(self) -> None:
        wrong = b'{"choices":[{"delta":{},"index":[],"finish_reason":"stop"}]}'
        async with running(Backend("a", reply=sse([wrong]))) as (kernel, _):
            for how in ("stream", "generate"):
                assert type(await fail(kernel, how)) is UpstreamBadResponse


class TestWholeAnswers:
    async def test_byte_for_byte(self) -> None:
        body = b'{ "choices":[{"message":{"content":"x"}}], "usage": {"completion_tokens":1} }'
        async with running(Backend("a", reply=whole(body))) as (kernel, _):
            completion = await kernel.generate("chat", ASK)
            assert completion.body == body
            assert completion.deployment.name == "a"
            assert completion.dropped == ()

    async def test_stream_is_turned_off(self) -> None:
        params = {**ASK, "stream": True, "stream_options": {"include_usage": True}}
        async with running(Backend("a")) as (kernel, upstreams):
            assert (await kernel.generate("chat", params, orjson.dumps(params))).text == "a b c"
            sent = asked(upstreams[0])[0].json()
            assert sent == {**ASK, "stream": False, "model": "a"}

    async def test_assembled_where_only_a_stream_can_be_stopped(self) -> None:
        can = Capabilities(
            cancels=frozenset({"stream"}), fields=frozenset({"model", "messages", "stream"})
        )
        plugins = plain.plugins(capabilities=lambda: can)
        async with running(Backend("a"), plugins=plugins) as (kernel, upstreams):
            completion = await kernel.generate("chat", {**ASK, "seed": 1})
            assert (completion.text, completion.finish_reason) == ("a b c", "stop")
            assert completion.usage == WIRE.usage(TEXTS)
            assert completion.data["object"] == "chat.completion"
            assert completion.dropped == ("seed",), "only what the caller asked for"
            assert completion.deployment.name == "a"
            assert asked(upstreams[0])[0].json()["stream"] is True

    async def test_an_assembled_answer_that_is_cut(self) -> None:
        async def reply(request: Received, answer: Answer) -> None:
            await (sse(WIRE.payloads(request, TEXTS)).upto(3) + play(end))(request, answer)

        can = Capabilities(cancels=frozenset({"stream"}))
        plugins = plain.plugins(capabilities=lambda: can)
        async with running(Backend("a", reply=reply), plugins=plugins) as (kernel, _):
            assert type(await fail(kernel, "generate")) is UpstreamDisconnected


class TestCapabilities:
    async def test_fields_that_are_dropped_are_told(self) -> None:
        can = Capabilities(fields=frozenset({"model", "messages", "stream"}))
        async with running(Backend("a"), plugins=plain.plugins(capabilities=lambda: can)) as (k, _):
            params = {**ASK, "seed": 1, "top_k": 2}
            async with k.stream("chat", {**params, "stream": True}) as answer:
                assert answer.dropped == ("seed", "top_k")
            assert (await k.generate("chat", params)).dropped == ("seed", "top_k")

    async def test_an_api_that_is_not_offered(self) -> None:
        can = Capabilities(kinds=frozenset({"text"}))
        plugins = plain.plugins(capabilities=lambda: can)
        async with running(Backend("a"), plugins=plugins) as (kernel, upstreams):
            assert await kernel.speaks(None, Call(method="POST", path="/responses")) is False
            assert await read(kernel, "text", prompt="hi") == "a b c"
            assert [r.path for r in asked(upstreams[0])] == ["/v1/completions"]

    async def test_fix_text(self) -> None:
        def fix_text(request: Request, text: str, final: bool) -> str:
            return f"{request.deployment.model}:{text.removesuffix('</s>')}:{final}"

        async with running(Backend("a"), plugins=plain.plugins(fix_text=fix_text)) as (kernel, _):
            assert kernel.fix_text("chat", {"model": "a"}, "x</s>", True) == "a:x:True"
            with pytest.raises(ModelNotFound):
                kernel.fix_text("chat", {"model": "b"}, "x", True)


async def never_a_chunk() -> AsyncIterator[Chunk]:
    yield "text"  # type: ignore[misc]


async def raises_first() -> AsyncIterator[Chunk]:
    raise ZeroDivisionError("SECRET")
    yield


async def raises_later(request: Request) -> AsyncIterator[Chunk]:
    yield Chunk.of("a", id="i", model=request.deployment.model)
    raise ZeroDivisionError("SECRET")


async def raises_while_closing(request: Request) -> AsyncIterator[Chunk]:
    try:
        yield Chunk.of("a", id="i", model=request.deployment.model)
        yield Chunk.of("", id="i", model=request.deployment.model, finish_reason="stop")
    finally:
        raise ZeroDivisionError("SECRET")


async def fails_to_answer() -> Completion:
    raise ZeroDivisionError("SECRET")


async def answers_nothing() -> Completion:
    return None  # type: ignore[return-value]


class TestBrokenPlugins:
    @pytest.mark.parametrize("hook", [never_a_chunk, raises_first, raises_later])
    async def test_streams(
        self, hook: Callable[..., Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        async with running(Backend("a"), plugins=plain.plugins(stream=hook)) as (kernel, _):
            error = await fail(kernel)
            assert (type(error), error.status) == (PluginError, 500)
            assert "'plain'" in error.message
            assert "SECRET" not in str(error.body())
            assert kernel.snapshot.find("a").link.leases == 0
        assert any(r.exc_info for r in caplog.records), "the log has the rest"

    async def test_closing(self, caplog: pytest.LogCaptureFixture) -> None:
        """What goes wrong after the answer spoils nothing but the log."""
        plugins = plain.plugins(stream=raises_while_closing)
        async with running(Backend("a"), plugins=plugins) as (kernel, _):
            async with kernel.stream("chat", ASK) as answer:
                assert (await anext(answer)).text == "a"
            assert kernel.snapshot.find("a").link.leases == 0
        assert "ZeroDivisionError" in caplog.text

    @pytest.mark.parametrize("hook", [fails_to_answer, answers_nothing])
    async def test_whole_answers(self, hook: Callable[..., Any]) -> None:
        async with running(Backend("a"), plugins=plain.plugins(generate=hook)) as (kernel, _):
            error = await fail(kernel, "generate")
            assert (type(error), error.status) == (PluginError, 500)
            assert "SECRET" not in str(error.body())
            assert kernel.snapshot.find("a").link.leases == 0

    async def test_lists(self) -> None:
        async def list_models() -> list[Model]:
            raise ZeroDivisionError("no list")

        plugins = plain.plugins(list_models=list_models)
        async with running(Backend("a"), plugins=plugins) as (kernel, _):
            status = kernel.status()[0]
            assert (status.stage, status.models) == ("offline", ())
            assert "plugin failed" in status.reason

    async def test_a_key_in_what_a_plugin_raises_is_not_shown(self) -> None:
        async def list_models(server: Server) -> list[Model]:
            raise ValueError(f"no list for {server.key}")

        plugins = plain.plugins(list_models=list_models)
        server = "plain:http://127.0.0.1:9/v1:sk-canary-771"
        async with Kernel(quick(), [server], plugins) as kernel:
            await kernel.settled(20)
            assert kernel.status()[0].reason == "its plugin failed: no list for ***"

    async def test_capabilities(self) -> None:
        def capabilities() -> Capabilities:
            raise ZeroDivisionError("none")

        plugins = plain.plugins(capabilities=capabilities)
        async with running(Backend("a"), plugins=plugins) as (kernel, _):
            assert kernel.status()[0].stage == "offline"

    async def test_fixing(self) -> None:
        def fix_text(text: str) -> str:
            raise ZeroDivisionError("SECRET")

        async with running(Backend("a"), plugins=plain.plugins(fix_text=fix_text)) as (kernel, _):
            with pytest.raises(PluginError) as caught:
                kernel.fix_text("chat", {"model": "a"}, "x", True)
            assert "SECRET" not in str(caught.value)

    async def test_forwarding(self) -> None:
        @contextlib.asynccontextmanager
        async def forward(call: Call) -> AsyncIterator[Any]:
            raise ZeroDivisionError("SECRET")
            yield

        async with running(Backend("a"), plugins=plain.plugins(forward=forward)) as (kernel, _):
            with pytest.raises(PluginError) as caught:
                await kernel.forward("a", Call(method="GET", path="/x")).__aenter__()
            assert "SECRET" not in str(caught.value)
            assert kernel.snapshot.find("a").link.leases == 0


class TestForwarding:
    async def test_a_forwarded_call(self) -> None:
        backend = Backend("a", reply=json({"data": [1]}))
        async with running(backend) as (kernel, upstreams):
            call = Call(method="POST", path="/embeddings", body=b'{"model":"a"}')
            async with kernel.forward("a", call) as reply:
                assert reply.status == 200
                assert b"".join([piece async for piece in reply.chunks]) == b'{"data":[1]}'
            assert asked(upstreams[0])[0].path == "/v1/embeddings"
            assert kernel.snapshot.find("a").link.leases == 0

    async def test_the_callers_own_error_is_his(self) -> None:
        async with running(Backend("a", reply=json({}))) as (kernel, _):
            with pytest.raises(KeyError):
                async with kernel.forward("a", Call(method="GET", path="/x")):
                    raise KeyError("mine")
            assert kernel.snapshot.find("a").link.leases == 0


class TestLeaving:
    @pytest.mark.parametrize("how", ["stream", "generate"])
    @pytest.mark.parametrize("reply", [play(hang), sse([]).upto(0) + play(hang)])
    async def test_cancelled_while_the_server_is_silent(self, how: str, reply: Play) -> None:
        async with running(Backend("a", reply=reply)) as (kernel, upstreams):
            asking = read(kernel) if how == "stream" else kernel.generate("chat", ASK)
            task = asyncio.ensure_future(asking)
            await until(lambda: asked(upstreams[0]), within=1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: upstreams[0].gone, within=2)
            assert kernel.snapshot.find("a").link.leases == 0

    async def test_left_after_a_chunk(self) -> None:
        async def reply(request: Received, answer: Answer) -> None:
            await (sse(WIRE.payloads(request, TEXTS)).upto(2) + play(hang))(request, answer)

        async with running(Backend("a", reply=reply)) as (kernel, upstreams):
            async with kernel.stream("chat", ASK) as answer:
                await anext(answer)
            await until(lambda: upstreams[0].gone, within=2)

            with pytest.raises(KeyError):
                async with kernel.stream("chat", ASK):
                    raise KeyError("the caller's own")
            await until(lambda: len(upstreams[0].gone) == 2, within=2)

    async def test_a_hundred_at_once(self) -> None:
        async def reply(request: Received, answer: Answer) -> None:
            await (sse(WIRE.payloads(request, TEXTS)).upto(2) + play(hang))(request, answer)

        async with running(Backend("a", reply=reply)) as (kernel, upstreams):
            upstream = upstreams[0]

            async def visit() -> None:
                async with kernel.stream("chat", ASK) as answer:
                    await anext(answer)
                    await asyncio.Event().wait()

            tasks = [asyncio.create_task(visit()) for _ in range(100)]
            await until(lambda: upstream.answering == 100, within=3)
            assert kernel.snapshot.find("a").link.leases == 100
            for task in tasks:
                task.cancel()
            await until(lambda: len(upstream.gone) == 100, within=2)
            await asyncio.gather(*tasks, return_exceptions=True)
            assert upstream.answering == 0
            assert kernel.snapshot.find("a").link.leases == 0

    async def test_running_answers_end_before_the_kernel_does(self) -> None:
        async def reply(request: Received, answer: Answer) -> None:
            await sse(WIRE.payloads(request, TEXTS)).paced(0.03)(request, answer)

        async with running(Backend("a", reply=reply)) as (kernel, upstreams):
            task = asyncio.create_task(read(kernel))
            await until(lambda: asked(upstreams[0]), within=1)
            await asyncio.sleep(0.02)
        assert await task == "a b c"

    async def test_they_are_cut_when_the_drain_is_over(self) -> None:
        backend = Backend("a", reply=play(hang))
        async with running(backend, drain_timeout=0.1) as (kernel, upstreams):
            task = asyncio.create_task(fail(kernel))
            await until(lambda: asked(upstreams[0]), within=1)
        assert type(await task) is Overloaded

    async def test_a_name_of_the_wrong_type(self) -> None:
        async with running(Backend("a")) as (kernel, _):
            for name in (5, ["a"], {"a": 1}):
                error = await fail(kernel, model=name)
                assert error.status in (400, 404)
