"""A lock's entries in a kernel: addressed, listed while their servers are away, coming alive."""

from __future__ import annotations

from typing import Any

import pytest

from h2o_relay import catalog
from h2o_relay.errors import ModelNotFound, RelayError, UpstreamUnavailable
from h2o_relay.kernel import Kernel
from h2o_relay.lock import configured
from h2o_relay.plugins import Plugins
from h2o_relay.registry import EMPTY
from h2o_relay.spec import ServerSpec
from h2o_relay.testing.scripts import play, reset
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import ScriptedUpstream, until
from h2o_relay.types import Tuning

from . import plain
from .test_kernel import Backend, asked, fail, names, read

pytestmark = pytest.mark.usefixtures("leaves_nothing")


def specs(*entries: dict[str, Any], **settings: Any) -> tuple[ServerSpec, ...]:
    return configured(quick(model_lock=repr(list(entries)), **settings)).specs


async def test_every_way_of_naming_an_entry() -> None:
    async with ScriptedUpstream(Backend("up-a")) as a, ScriptedUpstream(Backend("up-b")) as b:
        first, second = (f"plain:{upstream.url}/v1" for upstream in (a, b))
        lock = specs(
            {"inference_server": first, "base_model": "m", "temperature": 0.5},
            {"inference_server": second, "base_model": "m", "max_seq_len": 512},
            {"inference_server": first, "base_model": "x", "display_name": "m"},
            {"inference_server": second, "base_model": "m", "display_name": "Named"},
        )
        async with Kernel(quick(), lock, plain.plugins()) as kernel:
            await kernel.settled(20)
            assert names(kernel) == ["m", "m_1", "m_2", "Named"]
            for number, name in enumerate(names(kernel)):
                for asked_for in (name, number, str(number)):
                    assert kernel.find(asked_for).name == name  # type: ignore[arg-type]
            assert kernel.find("x").name == "m_2"
            for wrong in ("4", 4, -1, "y", "m_3", "+1", "01", "00000001"):
                with pytest.raises(ModelNotFound):
                    kernel.find(wrong)  # type: ignore[arg-type]
            assert await read(kernel, model="1") == "a b c"
            assert asked(b)[0].json()["model"] == "up-b"
            found = kernel.find("m_1")
            assert (found.max_context, found.tuning.max_seq_len) == (512, 512)
            assert kernel.find("m").tuning == Tuning(overrides={"temperature": 0.5})
            assert (kernel.find("Named").base_model, kernel.find("m_2").base_model) == ("m", "x")


async def test_a_model_called_like_a_number_comes_first() -> None:
    async with (
        ScriptedUpstream(Backend("1", "zero")) as upstream,
        Kernel(quick(), [f"plain:{upstream.url}/v1"], plain.plugins()) as kernel,
    ):
        await kernel.settled(20)
        assert kernel.find("1").name == "1"
        assert kernel.find("0").name == "1"


@pytest.mark.parametrize("form", ["plain:{}/v1", "{}"])
async def test_a_server_that_is_down_stays_listed_and_comes_alive(
    monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(catalog, "FIRST_WAIT", 0.05)
    plugins = plain.plugins() if "plain" in form else Plugins.discover("openai,vllm")
    async with (
        ScriptedUpstream(play(reset)) as down,
        ScriptedUpstream(Backend("there")) as up,
    ):
        lock = specs(
            {"inference_server": form.format(down.url), "base_model": "down"},
            {"inference_server": form.format(up.url), "base_model": "up"},
        )
        async with Kernel(quick(), lock, plugins) as kernel:
            assert names(kernel) == ["down", "up"], "before anybody was looked at"
            await kernel.settled(20)
            assert names(kernel) == ["down", "up"]
            assert [status.stage for status in kernel.status()] == ["offline", "ready"]
            assert kernel.find(None).name == "up", "a request without a model is answered"
            assert await read(kernel) == "a b c"
            assert (await fail(kernel, model="down")).status in (502, 503)
            assert kernel.find("down").name == "down"
            down.script = Backend("back")
            await until(lambda: kernel.status()[0].stage == "ready", within=5)
            assert names(kernel) == ["down", "up"]
            assert await read(kernel, model="down") == "a b c"
            assert asked(down)[-1].json()["model"] == "back"
            assert kernel.find(None).name == "down"


async def test_a_bare_url_that_nobody_knows_yet_says_so() -> None:
    async with ScriptedUpstream(play(reset)) as down:
        lock = specs({"inference_server": down.url, "base_model": "down"})
        async with Kernel(quick(), lock, Plugins.discover("openai,vllm")) as kernel:
            await kernel.settled(20)
            error = await fail(kernel, model="down")
            assert (type(error), error.status, error.retry_after) == (UpstreamUnavailable, 503, 1)
            assert error.message == f"`down` cannot be used: {kernel.status()[0].reason}"


async def test_a_model_that_its_server_does_not_list_comes_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalog, "FIRST_WAIT", 0.05)
    async with ScriptedUpstream(Backend("llama2:13b", "mistral")) as upstream:
        lock = specs({"inference_server": f"plain:{upstream.url}/v1", "base_model": "llama2"})
        async with Kernel(quick(), lock, plain.plugins()) as kernel:
            await kernel.settled(20)
            [status] = kernel.status()
            reason = "the server does not list llama2, but llama2:13b and 1 more"
            assert (status.stage, status.reason) == ("mismatch", reason)
            error = await fail(kernel, model="llama2")
            assert (error.status, reason in error.message) == (404, True)
            upstream.script = Backend("mistral", "llama2:latest")
            await until(lambda: kernel.status()[0].stage == "ready", within=2)
            await read(kernel, model="llama2")
            assert asked(upstream)[-1].json()["model"] == "llama2:latest"


async def test_a_running_answer_outlives_a_mismatch(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedUpstream(Backend("m", "n")) as upstream:
        lock = specs({"inference_server": f"plain:{upstream.url}/v1", "base_model": "m"})
        async with Kernel(quick(), lock, plain.plugins()) as kernel:
            await kernel.settled(20)
            route = kernel.snapshot.find("m")
            link = route.link
            link.lease()
            route.entry.stage, route.entry.reason = "mismatch", "it went"
            kernel.rebuild()
            route.link.release()
            assert link.leases == 0
            with pytest.raises(ModelNotFound, match="it went"):
                _ = kernel.snapshot.find("m").link


async def test_the_operators_own_name_for_the_upstream() -> None:
    async with ScriptedUpstream(Backend("a", "b")) as upstream:
        entry = {"inference_server": f"plain:{upstream.url}/v1", "base_model": "m"}
        lock = specs(entry | {"visible_models": "b"}, entry | {"visible_models": ["a"]})
        async with Kernel(quick(), lock, plain.plugins()) as kernel:
            await kernel.settled(20)
            await read(kernel, model="m")
            await read(kernel, model="m_1")
            assert [r.json()["model"] for r in asked(upstream)] == ["b", "a"]


async def test_what_was_said_of_a_bare_url_is_kept() -> None:
    async with ScriptedUpstream(Backend("a", "b")) as upstream:
        entry = {"inference_server": upstream.url, "base_model": "m", "h2ogpt_key": "KEY",
                 "visible_models": "b"}  # fmt: skip
        async with Kernel(quick(), specs(entry), Plugins.discover("openai")) as kernel:
            await kernel.settled(20)
            await read(kernel, model="m")
            [request] = asked(upstream)
            assert request.headers["authorization"] == "Bearer KEY"
            assert request.json()["model"] == "b"


async def test_visible_models() -> None:
    async with ScriptedUpstream(Backend("a", "b", "c")) as upstream:
        server = f"plain:{upstream.url}/v1"
        lock = specs(
            {"inference_server": server, "base_model": "a", "display_name": "A"},
            {"inference_server": server},
            visible_models="['b', 'c']",
        )
        async with Kernel(quick(), lock, plain.plugins()) as kernel:
            await kernel.settled(20)
            assert [model.name for model in kernel.models()] == ["b", "c"]
            assert kernel.find(None).name == "b", "the default is one that is listed"
            assert await read(kernel, model="A") == "a b c", "what is hidden can be asked for"
            with pytest.raises(ModelNotFound) as caught:
                kernel.find("☃")
            assert "Did you mean b, c?" in caught.value.message


async def test_a_server_that_answers_nobody_is_not_asked() -> None:
    async with ScriptedUpstream(Backend("a")) as upstream:
        lock = specs({"inference_server": upstream.url, "base_model": "m"})
        plugins = Plugins.of(deaf=plain.module())
        async with Kernel(quick(), lock, plugins) as kernel:
            await kernel.settled(20)
            error = await fail(kernel, model="m")
            assert (error.status, error.retry_after) == (503, 1)
            assert kernel.status()[0].reason in error.message
            with pytest.raises(RelayError):
                EMPTY.find("m")
