"""A real llama.cpp server by every string that means it, and real Gradio apps, behind `h2o run`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from .conftest import KEY, Relay, relay
from .standins import gradio_apps

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY = {"temperature": 0, "max_tokens": 24, "seed": 1}
PATHS = ("vllm_chat URL", "vllm host:port", "bare URL", "bare URL with v1", "openai_chat")
GRADIO_ANSWER = 'Hello, wörld \U0001f99c "quoted"\nit\'s'


def strings(llama_server: str) -> dict[str, dict[str, str]]:
    """Entries of a lock by what they show; the key is the entry's where the string has none."""
    url = llama_server.removesuffix("/v1")
    entries = {
        "vllm_chat URL": f"vllm_chat:{llama_server}",
        "vllm host:port": f"vllm:{url.removeprefix('http://')}",
        "bare URL": url,
        "bare URL with v1": llama_server,
        "openai_chat": f"openai_chat:None:{llama_server}",
    }
    assert tuple(entries) == PATHS
    return {name: {"inference_server": text, "h2ogpt_key": KEY} for name, text in entries.items()}


def serving(entries: dict[str, dict[str, str]], folder: Any) -> Any:
    """`h2o run` with each entry under its name."""
    lock = [{"base_model": name, **entry} for name, entry in entries.items()]
    file = folder / "lock.json"
    file.write_text(json.dumps(lock))
    return relay(f"--model-lock=@{file}")


def client_of(running: Relay) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0)


def ask(client: openai.OpenAI, model: str, **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=MESSAGES, **GREEDY, **more)  # type: ignore[call-overload]


def streamed(client: openai.OpenAI, model: str) -> tuple[list[str], list[str]]:
    """Pieces of text, and finish reasons."""
    pieces, reasons = [], []
    with ask(client, model, stream=True) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                pieces += [choice.delta.content] if choice.delta.content else []
                reasons += [choice.finish_reason] if choice.finish_reason else []
    return pieces, reasons


@pytest.fixture(scope="module")
def llama(llama_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    folder = tmp_path_factory.mktemp("paths")
    with serving(strings(llama_server), folder) as running, client_of(running) as made:
        yield made


@pytest.mark.parametrize("name", PATHS)
def test_llama_cpp_chats_and_streams(llama: openai.OpenAI, name: str) -> None:
    whole = ask(llama, name)
    pieces, reasons = streamed(llama, name)
    assert "".join(pieces) == whole.choices[0].message.content
    assert "Paris" in "".join(pieces)
    assert len(pieces) > 3
    assert reasons == [whole.choices[0].finish_reason] == ["stop"]
    assert whole.usage.completion_tokens > 3


@pytest.fixture(scope="module")
def gradio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("gradio")
    with gradio_apps(folder, "h2ogpt", "chat") as urls:
        entries = {
            "h2oGPT": {"inference_server": f"gradio:{urls['h2ogpt']}", "visible_models": "big"},
            "h2oGPT by URL": {"inference_server": urls["h2ogpt"], "visible_models": "big"},
            "ChatInterface": {"inference_server": urls["chat"]},
        }
        with serving(entries, folder) as running, client_of(running) as made:
            yield made


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("h2oGPT", GRADIO_ANSWER),
        ("h2oGPT by URL", GRADIO_ANSWER),
        ("ChatInterface", f"You said: {MESSAGES[0]['content']}"),
    ],
)
def test_gradio_chats_and_streams(gradio: openai.OpenAI, name: str, text: str) -> None:
    assert ask(gradio, name).choices[0].message.content == text
    pieces, reasons = streamed(gradio, name)
    assert ("".join(pieces), reasons) == (text, ["stop"])
    assert len(pieces) > 3
