"""What the kernel does around the plugin: stop strings, prompt types, fitting, plain chats."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from conversations import HISTORY, whole_and_streamed

from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.prompts.render import render
from h2o_relay.spec import ServerSpec
from h2o_relay.testing.scripts import json, stream
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import ScriptedUpstream
from h2o_relay.types import UNTUNED, Tuning
from h2o_relay_gradio_remote.standin import EVENT, CallWire, component, dependency

from .gradio_remote_site import CALL, HELLO, Site

pytestmark = pytest.mark.usefixtures("leaves_nothing")
NAME = "parrot"
RUNS_ON = ("Hel", "lo ST", "OP", " and more")
LISTED = repr([{"display_name": "big", "base_model": "org/big", "max_seq_len": 90}])
PLAIN = {
    "version": "6.31.0", "protocol": "sse_v3", "api_prefix": "/gradio_api", "title": "Parrot",
    "components": [component(1, "textbox"), component(2, "textbox")],
    "dependencies": [dependency(0, "chat", [1], [2])],
}  # fmt: skip


@asynccontextmanager
async def relayed(
    *texts: str, tuning: Tuning = UNTUNED
) -> AsyncIterator[tuple[Kernel, ScriptedUpstream]]:
    """A kernel that serves an h2oGPT server which answers with these texts."""
    told = stream(CallWire().events(texts, complete=True))
    site = Site(CALL).on(f"/gradio_api/call/submit_nochat_api/{EVENT}", told)
    site.on("/gradio_api/run/model_names", json({"data": [LISTED]}))
    async with serving(site, tuning) as found:
        yield found


@asynccontextmanager
async def serving(
    site: Site, tuning: Tuning = UNTUNED
) -> AsyncIterator[tuple[Kernel, ScriptedUpstream]]:
    async with ScriptedUpstream(site) as upstream:
        spec = ServerSpec(server=f"gradio:{upstream.url}", base_model=NAME, tuning=tuning)
        async with Kernel(quick(), [spec], Plugins.discover("gradio_remote")) as kernel:
            await kernel.settled(20)
            upstream.requests.clear()
            yield kernel, upstream


def told(upstream: ScriptedUpstream) -> dict[str, Any]:
    """What h2oGPT was asked last."""
    asked = [r for r in upstream.requests if r.path.endswith("/call/submit_nochat_api")]
    found: dict[str, Any] = ast.literal_eval(asked[-1].json()["data"][-1])
    return found


async def both(kernel: Kernel, **asked: Any) -> tuple[str, Any]:
    """The answer's text, the same whole and streamed, and its usage."""
    asked = {"model": NAME, "messages": HELLO, **asked}
    whole, usage = await whole_and_streamed(kernel, asked)
    assert whole.finish_reason == "stop"
    assert usage == whole.usage
    return whole.text, usage


async def test_a_stop_string_is_cut() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    async with relayed(*RUNS_ON) as (kernel, upstream):
        assert await both(kernel, stop=["STOP"]) == ("Hello ", usage)
        assert told(upstream)["prompt_type"] == ""
        assert (await kernel.generate("chat", {"messages": HELLO, "stop": "STOP"})).dropped == ()


async def test_an_answer_that_was_cut_is_cancelled() -> None:
    async with relayed(*RUNS_ON) as (kernel, upstream):
        asked = {"model": NAME, "messages": HELLO, "stop": "STOP", "stream": True}
        async with kernel.stream("chat", asked) as answer:
            assert "".join([chunk.text async for chunk in answer]) == "Hello "
        assert upstream.requests[-1].path == "/gradio_api/cancel"


async def test_a_prompt_type() -> None:
    stop = "\n<human>:"
    async with relayed(
        "Hi", stop[:4], stop[4:], " you", tuning=Tuning(prompt_type="human_bot")
    ) as (
        kernel,
        upstream,
    ):
        assert (await both(kernel))[0] == "Hi"
        asked = told(upstream)
    assert asked["instruction_nochat"] == render("human_bot", HELLO).prompt
    assert (asked["prompt_type"], asked["system_prompt"]) == ("plain", "")


async def test_a_long_conversation_is_fitted_to_the_servers_context() -> None:
    async with relayed("Hi", tuning=Tuning(prompt_type="human_bot")) as (kernel, upstream):
        assert kernel.find(NAME).max_context == 90
        whole = await kernel.generate("chat", {"messages": HISTORY, "max_tokens": 9})
        assert whole.notes is not None
        assert whole.notes.items() >= {"trimmed": "2", "trimmed-by": "estimate"}.items()
        asked = told(upstream)
    assert asked["instruction_nochat"] == render("human_bot", [HISTORY[0], HISTORY[3]]).prompt


async def test_a_plain_chat_reports_what_it_is_not_told() -> None:
    """Its string does not say what it is, so that this is known only once it was opened."""
    events = stream([b'event: complete\ndata: ["Hello STOP there"]\n\n'])
    site = Site(PLAIN).on("/gradio_api/call/chat", json({"event_id": EVENT}))
    async with serving(site.on(f"/gradio_api/call/chat/{EVENT}", events)) as (kernel, _):
        assert kernel.find(NAME).kinds == {"chat"}
        asked = {"temperature": 0, "max_tokens": 5, "n": 1, "tools": [], "stop": "STOP"}
        whole = await kernel.generate("chat", {"messages": HELLO, **asked})
        assert whole.dropped == ("n", "tools", "temperature", "max_tokens")
        text, usage = await both(kernel, **asked)
        assert (text, usage["estimated"]) == ("Hello ", True)
