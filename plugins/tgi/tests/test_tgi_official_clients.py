"""The stand-in is what official clients take for TGI, and what its OpenAPI document describes.

`huggingface_hub` and `openai` are in the project's environment. `text-generation` needs an older
huggingface-hub than Gradio does, so it is installed into an environment of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest

from h2o_relay.testing.upstream import Received, ScriptedUpstream

from .tgi_kit import MESSAGES, PROMPT
from .tgi_rules import Refused
from .tgi_standin import MODEL, TgiStandIn, standing

hub = pytest.importorskip("huggingface_hub", reason="Gradio brings it, and is not installed")

SAYS = "Parrots eat seeds, nuts and fruit."
WORDS = ["Parrots", " eat", " seeds,", " nuts", " and", " fruit."]
TOO_LONG = (
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 128. "
    "Given: 7 `inputs` tokens and 500 `max_new_tokens`"
)
CLIENT = ("text-generation==0.7.0", "requests")  # it imports requests, but does not ask for it


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with standing(TgiStandIn()) as made:
        yield made


def client(upstream: ScriptedUpstream) -> Any:
    return hub.InferenceClient(base_url=upstream.url)


async def test_a_text_by_huggingface_hub(upstream: ScriptedUpstream) -> None:
    made = await asyncio.to_thread(
        client(upstream).text_generation, PROMPT, max_new_tokens=50, details=True,
        decoder_input_details=True, best_of=2, do_sample=True, top_n_tokens=2,
    )  # fmt: skip
    assert made.generated_text == SAYS
    assert made.details.finish_reason == "eos_token"
    assert [token.text for token in made.details.tokens] == [*WORDS, "</s>"]
    assert made.details.prefill[0].text == "<s>"
    assert made.details.best_of_sequences[0].generated_text == SAYS


async def test_a_stream_by_huggingface_hub(upstream: ScriptedUpstream) -> None:
    def ask() -> list[Any]:
        asking = client(upstream)
        return list(
            asking.text_generation(
                PROMPT, max_new_tokens=50, details=True, stream=True, stop=[" nuts"]
            )
        )

    events = await asyncio.to_thread(ask)
    assert [event.token.text for event in events] == WORDS[:4]
    assert events[-1].details.finish_reason == "stop_sequence"
    assert events[-1].details.input_length == 7
    assert events[-1].generated_text == "Parrots eat seeds, nuts"


async def test_errors_by_huggingface_hub(upstream: ScriptedUpstream) -> None:
    with pytest.raises(hub.errors.ValidationError) as caught:
        await asyncio.to_thread(client(upstream).text_generation, PROMPT, max_new_tokens=500)
    assert str(caught.value) == TOO_LONG
    upstream.script = TgiStandIn(fails=Refused("overloaded", "Model is overloaded"))
    with pytest.raises(hub.errors.OverloadedError, match="Model is overloaded"):
        await asyncio.to_thread(client(upstream).text_generation, PROMPT)
    upstream.script = TgiStandIn(fails=Refused("generation", "CUDA error"), fails_after=1)
    asking = client(upstream)  # which must outlive its stream
    with pytest.raises(hub.errors.GenerationError, match="CUDA error"):
        await asyncio.to_thread(
            lambda: list(asking.text_generation(PROMPT, stream=True, details=True))
        )


async def test_chat_by_huggingface_hub(upstream: ScriptedUpstream) -> None:
    def ask() -> tuple[Any, list[Any]]:
        asking = client(upstream)
        whole = asking.chat_completion(MESSAGES, max_tokens=50)
        return whole, list(asking.chat_completion(MESSAGES, max_tokens=50, stream=True))

    whole, chunks = await asyncio.to_thread(ask)
    assert whole.choices[0].message.content == SAYS
    assert whole.usage.completion_tokens == 7
    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == SAYS
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_chat_by_openais_client(upstream: ScriptedUpstream) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{upstream.url}/v1", api_key="-", max_retries=0,
        _strict_response_validation=True,
    ) as asking:  # fmt: skip
        whole = await asking.chat.completions.create(model="tgi", messages=MESSAGES)
        assert whole.choices[0].message.content == SAYS
        stream = await asking.chat.completions.create(
            model="tgi", messages=MESSAGES, stream=True,
            stream_options={"include_usage": True},
        )  # fmt: skip
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SAYS
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has `text-generation`."""
    folder = tmp_path_factory.mktemp("text-generation")
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *CLIENT],
            check=True, capture_output=True,
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        reason = f"text-generation cannot be installed: {error.stderr.decode()[-300:]}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    return python


@pytest.mark.e2e
@pytest.mark.timeout(300)
async def test_all_of_it_by_text_generation(interpreter: Path) -> None:
    broken = TgiStandIn(fails=Refused("generation", "CUDA error"), fails_after=2)
    script = Path(__file__).with_name("tgi_client_calls.py")
    async with standing(TgiStandIn()) as good, standing(broken) as bad:
        process = await asyncio.create_subprocess_exec(
            str(interpreter), str(script), good.url, bad.url,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    found = json.loads(out)
    plain = found["plain"]
    assert (plain["text"], plain["finish_reason"]) == (SAYS, "eos_token")
    assert plain["tokens"] == [*WORDS, "</s>"]
    assert plain["prefill"][:2] == ["<s>", "Question:"]
    assert plain["top_tokens"][0] == ["Parrots", " other1"]
    assert plain["best_of"] == [SAYS]
    assert plain["stopped"] == ["Parrots eat seeds, nuts", "stop_sequence"]
    assert (plain["streamed"], plain["last"]) == (WORDS, [SAYS, "eos_token"])
    assert plain["refused"] == TOO_LONG
    assert found["async"] == {"text": SAYS, "streamed": WORDS}
    assert found["chat"] == SAYS
    assert found["failing"] == "CUDA error"


Shape = Mapping[str, Any]
TOKEN: Shape = {"id": int, "text": str, "logprob": float, "special": bool}
PREFILL: Shape = {"id": int, "text": str, "logprob?": float}
SEQUENCE: Shape = {
    "generated_text": str, "finish_reason": str, "generated_tokens": int, "seed?": int,
    "prefill": [PREFILL], "tokens": [TOKEN], "top_tokens?": [[TOKEN]],
}  # fmt: skip
DETAILS: Shape = {
    **{name: kind for name, kind in SEQUENCE.items() if name != "generated_text"},
    "best_of_sequences?": [SEQUENCE],
}
GENERATED: Shape = {"generated_text": str, "details?": DETAILS}
STREAMED: Shape = {
    "index": int, "token": TOKEN, "top_tokens?": [TOKEN], "generated_text?": str,
    "details?": {
        "finish_reason": str, "generated_tokens": int, "seed?": int, "input_length": int,
    },
}  # fmt: skip
USAGE: Shape = {"prompt_tokens": int, "completion_tokens": int, "total_tokens": int}
COMPLETION: Shape = {
    "id": str, "created": int, "model": str, "system_fingerprint": str, "usage": USAGE,
    "choices": [{
        "index": int, "message": {"role": str, "content": str}, "finish_reason": str,
        "logprobs?": dict,
    }],
}  # fmt: skip
CHUNK: Shape = {
    "id": str, "created": int, "model": str, "system_fingerprint": str, "usage?": USAGE,
    "choices": [{
        "index": int, "delta": {"role": str, "content": str}, "finish_reason?": str,
        "logprobs?": dict,
    }],
}  # fmt: skip
INFO: Shape = {
    "model_id": str, "model_sha?": str, "model_pipeline_tag?": str, "max_concurrent_requests": int,
    "max_best_of": int, "max_stop_sequences": int, "max_input_tokens": int,
    "max_total_tokens": int, "validation_workers": int, "max_client_batch_size": int,
    "router": str, "version": str, "sha?": str, "docker_label?": str,
}  # fmt: skip
TOKENS = [{"id": int, "text": str, "start": int, "stop": int}]
ERROR: Shape = {"error": str, "error_type": str}
"""Schemas of the OpenAPI document; a name with `?` may be missing or null."""


def fits(data: Any, shape: Any) -> bool:
    """Whether data is of a shape; nothing else may be in an object but `object`."""
    if isinstance(shape, list):
        return isinstance(data, list) and all(fits(item, shape[0]) for item in data)
    if not isinstance(shape, Mapping):
        return type(data) is shape
    if not isinstance(data, dict):
        return False
    names = {name.rstrip("?") for name in shape} | {"object"}
    return data.keys() <= names and all(
        (data.get(name[:-1]) is None or fits(data[name[:-1]], kind))
        if name.endswith("?") else name in data and fits(data[name], kind)
        for name, kind in shape.items()
    )  # fmt: skip


def played(method: str, path: str, body: Any = None, **fields: Any) -> bytes:
    """The body of the stand-in's answer."""
    request = Received(method, path, {}, b"" if body is None else orjson.dumps(body), 0)
    play = TgiStandIn(**fields).play(request)
    wire = play.wire
    return play.body if b"chunked" in wire else wire.partition(b"\r\n\r\n")[2]


def asking(**parameters: Any) -> dict[str, Any]:
    return {"inputs": PROMPT, "parameters": {"details": True, **parameters}}


@pytest.mark.parametrize(
    ("method", "path", "body", "shape"),
    [
        ("GET", "/info", None, INFO),
        ("POST", "/generate", asking(), GENERATED),
        ("POST", "/generate", asking(details=False), GENERATED),
        ("POST", "/generate",
         asking(best_of=2, do_sample=True, decoder_input_details=True, top_n_tokens=3), GENERATED),
        ("POST", "/", asking(), [GENERATED]),
        ("POST", "/tokenize", asking(), TOKENS),
        ("POST", "/chat_tokenize", {"messages": MESSAGES},
         {"tokenize_response": TOKENS, "templated_text": str}),
        ("POST", "/v1/chat/completions", {"messages": MESSAGES}, COMPLETION),
        ("POST", "/generate", asking(max_new_tokens=500), ERROR),
        ("GET", "/v1/models", None,
         {"data": [{"id": str, "object": str, "created": int, "owned_by": str}]}),
    ],
)  # fmt: skip
def test_answers_are_of_the_published_shapes(method: str, path: str, body: Any, shape: Any) -> None:
    data = orjson.loads(played(method, path, body))
    assert fits(data, shape), data


@pytest.mark.parametrize(
    ("path", "body", "shape"),
    [
        ("/generate_stream", asking(top_n_tokens=2), STREAMED),
        ("/v1/chat/completions",
         {"messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}}, CHUNK),
    ],
)  # fmt: skip
def test_events_are_of_the_published_shapes(path: str, body: Any, shape: Any) -> None:
    events = re.findall(rb"data:\s*(\{.*)\n\n", played("POST", path, body))
    assert len(events) == 7
    assert all(fits(orjson.loads(event), shape) for event in events)


def test_the_bytes_are_those_of_a_server() -> None:
    """Published examples, but for the words."""
    body = played("POST", "/generate_stream", asking(max_new_tokens=1, do_sample=True), says="test")
    assert body == (
        b'data:{"index":1,"token":{"id":450,"text":"test","logprob":-0.5,"special":false},'
        b'"generated_text":"test","details":{"finish_reason":"length","generated_tokens":1,'
        b'"seed":42,"input_length":7}}\n\n'
    )
    body = played("POST", "/generate", asking(max_new_tokens=0))
    assert body == (
        b'{"error":"Input validation error: `max_new_tokens` must be strictly positive",'
        b'"error_type":"validation"}'
    )
    assert played("POST", "/generate", {"inputs": "hi"}) == (
        b'{"generated_text":"Parrots eat seeds, nuts and fruit."}'
    )
    assert orjson.loads(played("GET", "/info"))["model_id"] == MODEL
