"""What the kernel does around the plugin: stop strings, prompt types, fitting, kinds of models."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from conversations import HISTORY, whole_and_streamed

import h2o_relay_ollama
from h2o_relay.errors import InvalidRequest
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.prompts.render import render
from h2o_relay.spec import ServerSpec
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import ScriptedUpstream
from h2o_relay.types import UNTUNED, Tuning

from .ollama_kit import user
from .ollama_standin import EMBEDDER, StandIn

pytestmark = pytest.mark.usefixtures("leaves_nothing")
NAME = "llama3.2"


@asynccontextmanager
async def relayed(
    tuning: Tuning = UNTUNED, name: str = NAME
) -> AsyncIterator[tuple[Kernel, StandIn]]:
    """A kernel that serves one of the stand-in's models."""
    ollama = StandIn()
    async with ScriptedUpstream(ollama) as upstream:
        spec = ServerSpec(server=f"ollama:{upstream.url}", base_model=name, tuning=tuning)
        async with Kernel(quick(), [spec], Plugins.of(ollama=h2o_relay_ollama)) as kernel:
            await kernel.settled(20)
            yield kernel, ollama


async def both(kernel: Kernel, **asked: Any) -> str:
    """The answer's text, the same whole and streamed, as is its usage."""
    whole, usage = await whole_and_streamed(kernel, {"model": NAME, **asked})
    assert usage == whole.usage
    return whole.text


async def test_stop_strings_go_to_the_server() -> None:
    async with relayed() as (kernel, ollama):
        assert await both(kernel, messages=user("one two STOP three"), stop="STOP") == "one two"
        assert ollama.asked[-1][1]["options"]["stop"] == ["STOP"]


async def test_a_prompt_type_completes_a_raw_text() -> None:
    async with relayed(Tuning(prompt_type="human_bot")) as (kernel, ollama):
        assert kernel.find(NAME).kinds == {"chat", "text"}
        text = await both(kernel, messages=user("Hi"), stop="never", max_tokens=9)
        route, sent = ollama.asked[-1]
    rendered = render("human_bot", user("Hi"))
    assert (route, sent["prompt"], sent["raw"]) == ("/api/generate", rendered.prompt, True)
    assert sent["options"] == {"num_predict": 9, "stop": ["never", *rendered.stops]}
    # The stand-in repeats the prompt, which begins with what ends an answer of this type.
    assert text == ""


async def test_without_one_the_model_has_its_own_template() -> None:
    async with relayed() as (kernel, ollama):
        assert await both(kernel, messages=user("Hi there")) == "Hi there"
        assert ollama.asked[-1][0] == "/api/chat"


async def test_a_long_conversation_is_fitted() -> None:
    """Ollama counts nothing beforehand, so that tokens are estimated."""
    async with relayed(Tuning(prompt_type="vicuna11", max_seq_len=90)) as (kernel, ollama):
        whole = await kernel.generate("chat", {"model": NAME, "messages": HISTORY, "max_tokens": 9})
        assert whole.notes is not None
        assert whole.notes.items() >= {"trimmed": "2", "trimmed-by": "estimate"}.items()
        sent = ollama.asked[-1][1]
    assert sent["prompt"] == render("vicuna11", [HISTORY[0], HISTORY[3]]).prompt
    assert sent["options"]["num_ctx"] == 90


async def test_the_context_is_what_the_model_says() -> None:
    async with relayed() as (kernel, _):
        assert kernel.find(NAME).max_context == 4096


async def test_a_model_that_embeds_does_not_chat() -> None:
    async with relayed(name=EMBEDDER) as (kernel, ollama):
        asked = len(ollama.asked)
        with pytest.raises(InvalidRequest, match="offers embeddings alone"):
            await kernel.generate("chat", {"model": EMBEDDER, "messages": user("Hi")})
        assert len(ollama.asked) == asked
