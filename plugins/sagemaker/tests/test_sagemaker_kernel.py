"""What the kernel does around the plugin, for each payload: stop strings, prompt types, fitting."""

from __future__ import annotations

from typing import Any

import pytest
from conversations import HISTORY

from h2o_relay.prompts.catalog import get
from h2o_relay.prompts.render import render
from h2o_relay.types import Tuning
from h2o_relay_sagemaker.standin import Llama2Container, OpenAIContainer, RuntimeWire, TgiContainer

from .sagemaker_kit import ENDPOINT, HELLO, LLAMA2, STRING, Asked, asked

RUNS_ON = ("Hel", "lo ST", "OP", " and more")
TEXT = f"sagemaker:{ENDPOINT}:us-east-2"
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"


def saying(container: RuntimeWire, *texts: str) -> Any:
    async def script(request: Any, answer: Any) -> None:
        await container.reply(request, texts)(request, answer)

    return script


async def both(relay: Asked, **params: Any) -> tuple[str, str]:
    """The whole answer's text and the streamed one's; both must end with `stop`."""
    whole = await relay.generate(**params)
    chunks = await relay.stream(**params)
    reasons = [chunk.finish_reason for chunk in chunks if chunk.finish_reason]
    assert [whole.finish_reason, *reasons] == ["stop", "stop"]
    assert whole.data["object"] == "chat.completion"
    objects = {event["object"] for chunk in chunks for event in chunk.events()}
    assert objects == {"chat.completion.chunk"}
    return whole.text, "".join(chunk.text for chunk in chunks)


@pytest.mark.parametrize(
    ("text", "base_model", "container"),
    [
        (TEXT, LLAMA2, TgiContainer()),
        (STRING, LLAMA2, Llama2Container()),
        (f"{STRING}:llama2", None, Llama2Container()),
    ],
)
async def test_a_stop_string_that_the_container_leaves_is_cut(
    text: str, base_model: str | None, container: RuntimeWire
) -> None:
    async with asked(saying(container, *RUNS_ON), text, base_model) as relay:
        assert await both(relay, stop=["STOP"]) == ("Hello ", "Hello ")
        assert (await relay.generate(stop="STOP")).dropped == ()


async def test_usage_of_a_stream_that_was_cut() -> None:
    async with asked(saying(TgiContainer(), *RUNS_ON), TEXT, LLAMA2) as relay:
        chunks = await relay.stream(stop="STOP", stream_options={"include_usage": True})
    usage = {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10}
    assert [chunk.usage for chunk in chunks if chunk.usage] == [usage]


async def test_a_text_endpoint_is_asked_in_the_models_own_type() -> None:
    async with asked(
        saying(TgiContainer(), "Hi", get("llama2").stops[0], " and"), TEXT, LLAMA2
    ) as relay:
        assert relay.kernel.models()[0].kinds is None
        assert await both(relay, messages=HISTORY, max_tokens=5) == ("Hi", "Hi")
        sent = relay.last.json()
    rendered = render("llama2", HISTORY)
    assert sent["inputs"] == rendered.prompt
    assert sent["parameters"]["stop"] == list(rendered.stops)[:4]
    assert sent["parameters"]["max_new_tokens"] == 5


async def test_a_prompt_type_is_a_text_completion_of_openais_shape() -> None:
    tuning = Tuning(prompt_type="human_bot")
    async with asked(saying(OpenAIContainer(), "Hi"), f"{TEXT}:openai", tuning=tuning) as relay:
        assert await both(relay, max_completion_tokens=5, tools=TOOLS) == ("Hi", "Hi")
        sent = relay.last.json()
        assert (await relay.generate(tools=TOOLS)).dropped == ("tools",)
    rendered = render("human_bot", HELLO)
    assert sent == {
        "prompt": rendered.prompt, "stop": list(rendered.stops), "max_tokens": 5, "stream": True,
    }  # fmt: skip


async def test_a_chat_endpoint_has_a_template_of_its_own() -> None:
    """As in h2oGPT: there a prompt type means nothing, and a chat template does."""
    container = saying(OpenAIContainer(), "Hi")
    async with asked(container, STRING, tuning=Tuning(prompt_type="human_bot")) as relay:
        assert await both(relay) == ("Hi", "Hi")
        assert relay.last.json()["messages"] == HELLO
    async with asked(container, STRING, tuning=Tuning(chat_template=TEMPLATE)) as relay:
        assert await both(relay) == ("Hi", "Hi")
        assert relay.last.json()["prompt"] == "<user>Say it."


async def test_a_long_conversation_is_fitted() -> None:
    tuning = Tuning(max_seq_len=90)
    async with asked(saying(TgiContainer(), "Hi"), TEXT, LLAMA2, tuning=tuning) as relay:
        whole = await relay.generate(messages=HISTORY, max_tokens=9)
        assert whole.notes is not None
        assert whole.notes.items() >= {"trimmed": "2", "trimmed-by": "estimate"}.items()
        kept = [HISTORY[0], HISTORY[3]]
        assert relay.last.json()["inputs"] == render("llama2", kept).prompt


async def test_a_llama_2_endpoint_is_told_a_prompt_as_a_message() -> None:
    async with asked(saying(Llama2Container(), "Hi"), STRING, LLAMA2) as relay:
        found = await relay.generate("text", prompt="Once")
        assert found.data["choices"][0]["text"] == "Hi"
        assert relay.last.json()["inputs"] == [[{"role": "user", "content": "Once"}]]
