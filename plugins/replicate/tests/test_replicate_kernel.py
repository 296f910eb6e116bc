"""What the kernel does around the plugin: stop strings, prompt types, fitting."""

from __future__ import annotations

from typing import Any

import pytest

from h2o_relay.kernel import Kernel
from h2o_relay.prompts.catalog import get
from h2o_relay.prompts.render import render
from h2o_relay.types import Tuning
from h2o_relay_replicate.standin import GPT, LLAMA, Cloud

from .replicate_kit import NAME, chat, relayed

pytestmark = pytest.mark.usefixtures("leaves_nothing")
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
RUNS_ON = ("Hel", "lo ST", "OP", " and", " more")


async def streamed(kernel: Kernel, asked: dict[str, Any]) -> tuple[str, list[str], Any]:
    """Text, finish reasons and usage."""
    text, reasons, usage = "", [], None
    async with kernel.stream("chat", {**asked, "stream": True}) as answer:
        async for chunk in answer:
            text += chunk.text
            reasons += [chunk.finish_reason] if chunk.finish_reason else []
            usage = chunk.usage or usage
    return text, reasons, usage


def given(cloud: Cloud) -> dict[str, Any]:
    """The inputs of the last prediction."""
    return list(cloud.predictions.values())[-1].input


@pytest.mark.parametrize("inputs", [LLAMA, GPT], ids=["takes stops", "takes none"])
async def test_a_stop_string_is_cut_whether_the_model_takes_it_or_not(inputs: Any) -> None:
    cloud = Cloud(texts=RUNS_ON, inputs=inputs)
    asked = chat("Hi", stop="STOP")
    async with relayed(cloud) as kernel:
        whole = await kernel.generate("chat", asked)
        assert (whole.text, whole.finish_reason, whole.usage) == ("Hello ", "stop", USAGE)
        assert whole.dropped == ()
        asked["stream_options"] = {"include_usage": True}
        assert await streamed(kernel, asked) == ("Hello ", ["stop"], USAGE)
    assert given(cloud).get("stop_sequences") == ("STOP" if inputs is LLAMA else None)


async def test_a_prediction_that_was_cut_does_not_run_on() -> None:
    cloud = Cloud(texts=RUNS_ON, inputs=GPT, pace=0.05)
    async with relayed(cloud) as kernel:
        assert (await streamed(kernel, chat("Hi", stop="STOP")))[0] == "Hello "
    assert cloud.cancelled == ["p1"]


async def test_a_prompt_type() -> None:
    stop = get("human_bot").stops[0]
    cloud = Cloud(texts=("Hello", stop[:3], stop[3:], " me"))
    asked = chat("Hi", system="Be brief.")
    async with relayed(cloud, tuning=Tuning(prompt_type="human_bot")) as kernel:
        whole = await kernel.generate("chat", asked)
        assert whole.data["object"] == "chat.completion"
        assert (whole.text, whole.finish_reason) == ("Hello", "stop")
        assert await streamed(kernel, asked) == ("Hello", ["stop"], None)
    rendered = render("human_bot", asked["messages"])
    assert given(cloud)["prompt"] == rendered.prompt
    assert given(cloud)["stop_sequences"] == ",".join(rendered.stops)
    assert (given(cloud)["prompt_template"], given(cloud)["system_prompt"]) == ("{prompt}", "")


async def test_without_one_the_model_has_its_own_template() -> None:
    cloud = Cloud()
    async with relayed(cloud) as kernel:
        await kernel.generate("chat", chat("Hi", system="Be brief."))
    assert given(cloud) == {"prompt": "Hi", "system_prompt": "Be brief."}


async def test_a_long_conversation_is_fitted() -> None:
    cloud = Cloud()
    tuning = Tuning(prompt_type="human_bot", max_seq_len=80)
    asked = chat("one " * 60, "first", "two", max_tokens=9)
    async with relayed(cloud, tuning=tuning) as kernel:
        whole = await kernel.generate("chat", asked)
        assert whole.notes is not None
        assert whole.notes.items() >= {"trimmed": "2", "trimmed-by": "estimate"}.items()
    assert given(cloud)["prompt"] == render("human_bot", chat("two")["messages"]).prompt


async def test_a_model_of_messages_alone_is_told_a_prompt_as_one() -> None:
    cloud = Cloud(inputs={"messages": GPT["messages"]})
    async with relayed(cloud) as kernel:
        assert kernel.find(NAME).kinds == {"chat"}
        found = await kernel.generate("text", {"model": NAME, "prompt": "Once"})
    assert found.data["object"] == "text_completion"
    assert given(cloud)["messages"] == [{"role": "user", "content": "Once"}]
