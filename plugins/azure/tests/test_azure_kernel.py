"""What the kernel does around the plugin: prompt types and stop strings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from conversations import whole_and_streamed

from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.prompts.render import render
from h2o_relay.spec import ServerSpec
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import ScriptedUpstream
from h2o_relay.types import UNTUNED, Tuning

from .azure_standin import CHAT, COMPLETING, KEY, TEXT, USAGE, standing

pytestmark = pytest.mark.usefixtures("leaves_nothing")
NAME = "parrot"
MESSAGES = [{"role": "user", "content": "Hi"}]
HUMAN_BOT = Tuning(prompt_type="human_bot")


@asynccontextmanager
async def relayed(
    string: str, tuning: Tuning = UNTUNED
) -> AsyncIterator[tuple[Kernel, ScriptedUpstream]]:
    """A kernel that serves one of the stand-in's deployments as `NAME`."""
    async with standing() as upstream:
        text = f"{string}:{upstream.url}:2024-10-21:{KEY}"
        spec = ServerSpec(server=text, base_model=NAME, tuning=tuning)
        async with Kernel(quick(), [spec], Plugins.discover("azure")) as kernel:
            await kernel.settled(20)
            yield kernel, upstream


async def both(kernel: Kernel, **more: Any) -> str:
    """The answer's text, the same whole and streamed, which ends by itself."""
    asked = {"model": NAME, "messages": MESSAGES, **more}
    whole, usage = await whole_and_streamed(kernel, asked)
    assert whole.finish_reason == "stop"
    assert usage == whole.usage == USAGE
    return whole.text


async def test_a_prompt_type_goes_to_completions() -> None:
    """With the filter's results around the text, and an event without choices before it."""
    async with relayed(f"openai_azure:{COMPLETING}", HUMAN_BOT) as (kernel, upstream):
        assert await both(kernel, max_completion_tokens=9, stop="never") == TEXT
        path = upstream.requests[-1].path
        sent = upstream.requests[-1].json()
    rendered = render("human_bot", MESSAGES)
    assert path.startswith(f"/openai/deployments/{COMPLETING}/completions?")
    assert (sent["prompt"], sent["max_tokens"]) == (rendered.prompt, 9)
    assert sent["stop"] == ["never", *rendered.stops][:4]  # Azure takes no more
    assert "messages" not in sent


async def test_the_kernel_cuts_what_it_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("h2o_relay.cutting.USAGE_WAIT", 20.0)
    async with relayed(f"openai_azure:{COMPLETING}", HUMAN_BOT) as (kernel, _):
        assert await both(kernel, stop=TEXT[3:6]) == TEXT[:3]


async def test_more_stops_than_azure_takes_are_cut_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("h2o_relay.cutting.USAGE_WAIT", 20.0)
    asked = ["n1", "n2", "n3", "n4", TEXT[3:6]]
    async with relayed(f"openai_azure:{COMPLETING}", HUMAN_BOT) as (kernel, upstream):
        assert await both(kernel, stop=asked) == TEXT[:3]
        assert upstream.requests[-1].json()["stop"] == asked[:4]


async def test_without_one_messages_go_as_they_are_and_azure_sees_to_stops() -> None:
    async with relayed(f"openai_azure_chat:{CHAT}") as (kernel, upstream):
        assert await both(kernel, stop="never") == TEXT
        sent = upstream.requests[-1].json()
    assert (sent["messages"], sent["stop"]) == (MESSAGES, "never")
