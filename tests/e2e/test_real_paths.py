"""A real llama.cpp server by every string that means it, and real Gradio apps, behind `h2o run`;
and the paths beside chat and text, against the same server asked directly.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from .conftest import KEY, Llama, Relay, relay
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


LLAMA_CPP = "bare URL"
"""Found to be llama.cpp's, so that its plugin translates what it has under other names."""
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SMILE = "hello \U0001f600 wörld"


def said(client: openai.OpenAI, path: str, **body: Any) -> Any:
    """What the relay answers to a POST below /v1."""
    return client.post(path, body=body, cast_to=object)


def direct(llama_server: str, path: str, **body: Any) -> Any:
    """The same of the server itself; `path` is from its root."""
    url = f"{llama_server.removesuffix('/v1')}{path}"
    answer = httpx.post(url, json=body, headers={"authorization": f"Bearer {KEY}"}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_tokens_there_and_back(llama: openai.OpenAI, llama_server: str) -> None:
    found = said(llama, "/tokenize", model=LLAMA_CPP, prompt=SMILE, return_token_strs=True)
    theirs = direct(llama_server, "/tokenize", content=SMILE, add_special=True)["tokens"]
    assert found["tokens"] == theirs
    assert found["count"] == len(theirs) == len(found["token_strs"])
    assert found["max_model_len"] == llama.models.retrieve(LLAMA_CPP).max_model_len  # type: ignore[attr-defined]
    assert found["token_strs"][0] == "hello"
    assert "\\xf0\\x9f\\x98" in found["token_strs"][1], "bytes that are no character are escaped"
    back = said(llama, "/detokenize", model=LLAMA_CPP, tokens=found["tokens"])
    assert back == {"prompt": SMILE}


@pytest.mark.parametrize(
    "more",
    [
        {}, {"tools": [TOOL]}, {"add_special_tokens": False}, {"add_generation_prompt": True},
    ],
)  # fmt: skip
def test_a_conversations_tokens_are_those_that_it_costs(
    llama: openai.OpenAI, more: dict[str, Any]
) -> None:
    found = said(llama, "/tokenize", model=LLAMA_CPP, messages=MESSAGES, **more)
    counted = said(llama, "/chat/completions/input_tokens", model=LLAMA_CPP, messages=MESSAGES)
    answer = ask(llama, LLAMA_CPP)
    assert found["count"] == counted["input_tokens"] == answer.usage.prompt_tokens


def test_a_conversation_without_the_beginning_of_an_answer(llama: openai.OpenAI) -> None:
    whole = said(llama, "/tokenize", model=LLAMA_CPP, messages=MESSAGES)["tokens"]
    open_ended = said(
        llama, "/tokenize", model=LLAMA_CPP, messages=MESSAGES, add_generation_prompt=False
    )["tokens"]
    assert open_ended == whole[: len(open_ended)]
    assert len(open_ended) < len(whole)


def test_tokens_that_the_model_does_not_have(llama: openai.OpenAI) -> None:
    for tokens in ([9_999_999], [28120, 49152]):
        with pytest.raises(openai.BadRequestError) as caught:
            said(llama, "/detokenize", model=LLAMA_CPP, tokens=tokens)
        assert caught.value.param == "tokens"
    with pytest.raises(openai.BadRequestError):
        said(llama, "/tokenize", model=LLAMA_CPP, messages=MESSAGES, tools=[{"odd": 1}])


def test_llama_cpps_own_tokens_do_not_pass_for_vllms(llama: openai.OpenAI) -> None:
    """It answers 200 to fields that it does not know, and no tokens."""
    for name in ("vllm_chat URL", "vllm host:port", "openai_chat"):
        with pytest.raises(openai.NotFoundError) as caught:
            said(llama, "/tokenize", model=name, prompt="hello")
        assert caught.value.code == "unknown_url"
        assert f"`{name}`" in str(caught.value)


@pytest.mark.parametrize("name", PATHS)
def test_embeddings_are_the_servers_own(llama: openai.OpenAI, llama_server: str, name: str) -> None:
    theirs = direct(llama_server, "/v1/embeddings", input="a parrot", model="smollm2")
    for form in ("float", openai.omit):  # the client asks for base64, and decodes it
        made = llama.embeddings.create(model=name, input=["a parrot"], encoding_format=form)  # type: ignore[arg-type]
        assert made.usage.prompt_tokens == theirs["usage"]["prompt_tokens"]
        assert made.data[0].embedding == pytest.approx(theirs["data"][0]["embedding"], abs=1e-3)


def test_what_the_server_was_not_started_for(llama: openai.OpenAI) -> None:
    cases = {
        "/rerank": {"query": "a", "documents": ["b"]}, "/audio/speech": {"input": "a"},
        "/images/generations": {"prompt": "a"}, "/moderations": {"input": "a"},
    }  # fmt: skip
    for path, body in cases.items():
        for name in (LLAMA_CPP, "vllm_chat URL"):
            with pytest.raises(openai.NotFoundError) as caught:
                said(llama, path, model=name, **body)
            assert caught.value.code == "unknown_url", (path, name)
            assert f"`{name}`" in str(caught.value)


@pytest.fixture(scope="module")
def reranker(model_file: Path) -> Iterator[str]:
    """A llama.cpp server that reranks: its URL with /v1."""
    server = Llama(
        model_file, slots=1, program=[str(Path(__file__).with_name("rerank_process.py"))]
    )
    server.start()
    try:
        server.wait()
        yield server.url
    finally:
        server.kill()


def test_documents_are_ranked(reranker: str, tmp_path: Path) -> None:
    url = reranker.removesuffix("/v1")
    entries = {
        "llama.cpp": {"inference_server": url, "h2ogpt_key": KEY},
        "vllm": {"inference_server": f"vllm:{url}/v1", "h2ogpt_key": KEY},
    }
    asked = {"query": "capital of France", "documents": ["Paris", "dogs bark", "a"], "top_n": 2}
    theirs = direct(reranker, "/v1/rerank", model="smollm2", **asked)
    assert len(theirs["results"]) == 2
    with serving(entries, tmp_path) as running, client_of(running) as client:
        for name in entries:
            found = said(client, "/rerank", model=name, **asked)
            assert found["usage"] == theirs["usage"]
            assert [one["index"] for one in found["results"]] == [
                one["index"] for one in theirs["results"]
            ]
            for ours, same in zip(found["results"], theirs["results"], strict=True):
                assert ours["relevance_score"] == pytest.approx(same["relevance_score"], abs=1e-2)


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
