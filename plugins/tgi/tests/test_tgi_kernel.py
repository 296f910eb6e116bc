"""What the kernel does around the plugin: stop sequences, prompt types, fitting by TGI's tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from conversations import HISTORY, whole_and_streamed

import h2o_relay_tgi
from h2o_relay.errors import ContextTooLong
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.prompts.catalog import get
from h2o_relay.prompts.render import render
from h2o_relay.spec import ServerSpec
from h2o_relay.testing.settings import quick
from h2o_relay.types import UNTUNED, Tuning

from .tgi_standin import TgiStandIn, standing

pytestmark = pytest.mark.usefixtures("leaves_nothing")
NAME = "parrot"


@asynccontextmanager
async def relayed(tuning: Tuning = UNTUNED, **standin: Any) -> AsyncIterator[tuple[Kernel, Any]]:
    """A kernel that serves the stand-in's model as `NAME`."""
    tgi = TgiStandIn(**standin)
    async with standing(tgi) as upstream:
        spec = ServerSpec(server=f"tgi:{upstream.url}", base_model=NAME, tuning=tuning)
        async with Kernel(quick(), [spec], Plugins.of(tgi=h2o_relay_tgi)) as kernel:
            await kernel.settled(20)
            upstream.requests.clear()
            yield kernel, upstream


def ask(*texts: str, **more: Any) -> dict[str, Any]:
    return {"model": NAME, "messages": [{"role": "user", "content": t} for t in texts], **more}


async def both(kernel: Kernel, asked: dict[str, Any]) -> str:
    """The answer's text, the same whole and streamed, with usage."""
    whole, usage = await whole_and_streamed(kernel, asked)
    assert usage is not None
    assert whole.usage is not None
    assert usage["prompt_tokens"] == whole.usage["prompt_tokens"] > 0
    return whole.text


def paths(upstream: Any) -> list[str]:
    return [request.path for request in upstream.requests]


def prompt(upstream: Any) -> str:
    """What the last generation was asked to complete."""
    return str(upstream.requests[-1].json()["inputs"])


async def test_stop_sequences_of_messages() -> None:
    async with relayed() as (kernel, upstream):
        assert await both(kernel, ask("Hi", stop=[" nuts", "never"])) == "Parrots eat seeds,"
        assert paths(upstream) == ["/v1/chat/completions"] * 2


async def test_a_prompt_type_goes_to_generate() -> None:
    stop = get("human_bot").stops[0]
    tuning = Tuning(prompt_type="human_bot")
    async with relayed(tuning, says=f"Seeds and {stop} more") as (kernel, upstream):
        assert kernel.find(NAME).kinds == {"chat", "text"}
        asked = ask("Hi", tools=[], tool_choice="auto")
        assert await both(kernel, asked) == "Seeds and "
        assert paths(upstream) == ["/generate", "/generate_stream"]
        assert prompt(upstream) == render("human_bot", asked["messages"]).prompt
        assert await both(kernel, ask("Hi", stop=" and")) == "Seeds"


async def test_a_server_without_messages_gets_a_rendered_text() -> None:
    async with relayed(version="1.3.4") as (kernel, upstream):
        assert kernel.find(NAME).kinds == {"text"}
        await both(kernel, ask("Hi"))
        asked = [path for path in paths(upstream) if path != "/tokenize"]
        assert asked == ["/generate", "/generate_stream"]
        assert prompt(upstream) == render("openai", ask("Hi")["messages"]).prompt


async def test_a_long_conversation_is_fitted_by_the_servers_own_count() -> None:
    asked = {**ask(), "messages": HISTORY, "max_tokens": 5}
    async with relayed(Tuning(prompt_type="human_bot"), max_total_tokens=60) as (kernel, upstream):
        assert kernel.find(NAME).max_context == 60
        whole = await kernel.generate("chat", asked)
        assert whole.notes == {"trimmed": "2", "translated": "chat-to-completions"}
        assert prompt(upstream) == render("human_bot", [HISTORY[0], HISTORY[3]]).prompt
        assert paths(upstream).count("/tokenize") >= 2
        assert (whole.usage or {})["prompt_tokens"] <= 55
        upstream.requests.clear()
        notes = (await kernel.generate("chat", ask("two", max_tokens=5))).notes
        assert notes == {"translated": "chat-to-completions"}


async def test_what_no_trimming_can_fit() -> None:
    async with relayed(Tuning(prompt_type="human_bot"), max_total_tokens=60) as (kernel, upstream):
        with pytest.raises(ContextTooLong):
            await kernel.generate("chat", ask("word " * 80))
        assert set(paths(upstream)) == {"/tokenize"}


async def test_messages_that_pass_through_are_never_trimmed() -> None:
    async with relayed(max_total_tokens=60) as (kernel, _):
        with pytest.raises(ContextTooLong, match="inputs"):
            await kernel.generate("chat", {**ask(), "messages": HISTORY, "max_tokens": 5})
