"""The embedded engine with the real default model."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import h2o_relay_llama_cpp as plugin
from h2o_relay.errors import UpstreamUnavailable, UpstreamUnreachable
from h2o_relay.types import Endpoint, Server

pytestmark = pytest.mark.e2e

NAME = "SmolLM2-135M-Instruct"
FRANCE = {"role": "user", "content": "What is the capital of France?"}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache directory with the default model in it."""
    cache = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("H2O_CACHE_DIR", str(cache))
        try:
            asyncio.run(plugin.fetch(default(), lambda *a: None))
        except UpstreamUnreachable as error:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))
    return cache


@pytest.fixture(autouse=True)
def cache(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("H2O_CACHE_DIR", str(models))


def default(**options: object) -> Server:
    server = plugin.parse_server_string("llama_cpp")
    assert server is not None
    return replace(server, options={"threads": "1", "slots": "2", "ctx": "512", **options})


@asynccontextmanager
async def running(**options: object) -> AsyncIterator[Endpoint]:
    async with plugin.connect(default(**options)) as endpoint:
        yield endpoint


@contextmanager
def exchange(
    endpoint: Endpoint, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> Iterator[http.client.HTTPResponse]:
    """One request; leaving closes its connection."""
    connection = http.client.HTTPConnection(urlsplit(endpoint.url).netloc, timeout=30)
    try:
        sent = endpoint.headers if headers is None else headers
        data = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, data, dict(sent))
        with connection.getresponse() as response:
            yield response
    finally:
        connection.close()


def ask(endpoint: Endpoint, path: str, body: Any = None) -> Any:
    with exchange(endpoint, path, body) as response:
        assert response.status == 200
        return json.loads(response.read())


def chat(endpoint: Endpoint, *messages: dict[str, str], **more: Any) -> Any:
    body = {"model": NAME, "messages": messages, "temperature": 0, "max_tokens": 30, **more}
    return ask(endpoint, "/v1/chat/completions", body)


def busy(endpoint: Endpoint) -> int:
    return sum(slot["is_processing"] for slot in ask(endpoint, "/slots"))


async def test_a_greedy_answer_is_right() -> None:
    async with running() as endpoint:
        plain = await asyncio.to_thread(chat, endpoint, FRANCE)
        assert plain["choices"][0]["message"]["content"] == "The capital of France is Paris."
        assert plain["model"] == NAME
        system = {"role": "system", "content": "Answer with one short sentence."}
        told = await asyncio.to_thread(chat, endpoint, system, FRANCE)
        assert "Paris" in told["choices"][0]["message"]["content"]
        prompt = await asyncio.to_thread(
            ask, endpoint, "/apply-template", {"messages": [system, FRANCE]}
        )
        assert prompt["prompt"] == (
            "<|im_start|>system\nAnswer with one short sentence.<|im_end|>\n"
            "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
        )


async def test_options_reach_the_engine() -> None:
    async with running(slots="3", ctx="768") as endpoint:
        slots = await asyncio.to_thread(ask, endpoint, "/slots")
        assert [slot["n_ctx"] for slot in slots] == [768] * 3
        models = await asyncio.to_thread(ask, endpoint, "/v1/models")
        assert [model["id"] for model in models["data"]] == [NAME]
        assert models["data"][0]["meta"]["n_ctx"] == 768


async def test_the_key_is_needed_and_not_shown() -> None:
    def status(endpoint: Endpoint, headers: Mapping[str, str]) -> int:
        with exchange(endpoint, "/v1/chat/completions", {"messages": [FRANCE]}, headers) as answer:
            return answer.status

    async with running() as endpoint:
        for headers in ({}, {"authorization": "Bearer wrong"}):
            assert await asyncio.to_thread(status, endpoint, headers) == 401
        key = endpoint.headers["authorization"].removeprefix("Bearer ")
        assert len(key) > 30
        _, line = await asyncio.to_thread(child_of, endpoint)
        assert key not in line
        assert key not in repr(endpoint)


def child_of(endpoint: Endpoint) -> tuple[int, str]:
    """Process id and command line of the engine at an address."""
    port = f"--port {urlsplit(endpoint.url).port} "
    listed = subprocess.run(["ps", "-axwwo", "pid=,args="], capture_output=True, text=True)
    (line,) = [line for line in listed.stdout.splitlines() if port in line]
    return int(line.split()[0]), line


def deltas(endpoint: Endpoint, *messages: dict[str, str], **more: Any) -> str:
    body = {"messages": messages, "temperature": 0, "max_tokens": 30, "stream": True, **more}
    text = ""
    with exchange(endpoint, "/v1/chat/completions", body) as response:
        events = response.read().decode().strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    for event in events[:-1]:
        choice = json.loads(event.removeprefix("data: "))["choices"][0]
        text += choice["delta"].get("content") or ""
    assert choice["finish_reason"] in ("stop", "length")
    return text


async def test_streaming_and_continuing() -> None:
    async with running() as endpoint:
        assert await asyncio.to_thread(deltas, endpoint, FRANCE) == (
            "The capital of France is Paris."
        )
        begun = {"role": "assistant", "content": "The capital of France"}
        assert await asyncio.to_thread(deltas, endpoint, FRANCE, begun) == " is Paris."


async def test_leaving_a_stream_frees_its_slot() -> None:
    body = {"messages": [FRANCE], "stream": True, "max_tokens": 400, "ignore_eos": True}

    def leave(endpoint: Endpoint) -> int:
        with exchange(endpoint, "/v1/chat/completions", body) as response:
            assert response.readline().startswith(b"data: ")
            return busy(endpoint)

    async with running() as endpoint:
        assert await asyncio.to_thread(leave, endpoint) == 1
        # The whole answer would take some four seconds.
        async with asyncio.timeout(1):
            while await asyncio.to_thread(busy, endpoint):  # noqa: ASYNC110 - the engine's state
                await asyncio.sleep(0.02)


async def test_a_killed_engine_comes_back() -> None:
    async with running() as endpoint:
        first, _ = await asyncio.to_thread(child_of, endpoint)
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(20):
            while True:
                try:
                    answer = await asyncio.to_thread(chat, endpoint, FRANCE)
                    break
                except (OSError, http.client.HTTPException, AssertionError):
                    await asyncio.sleep(0.1)
        assert "Paris" in answer["choices"][0]["message"]["content"]
        second, _ = await asyncio.to_thread(child_of, endpoint)
        assert second != first


async def test_a_broken_model_is_reported(models: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    with (models / "models" / f"{NAME}.gguf").open("rb") as file:
        broken.write_bytes(file.read(5_000_000))
    server = plugin.parse_server_string(f"llama_cpp:{broken}")
    assert server is not None
    with pytest.raises(UpstreamUnavailable, match=r"llama\.cpp with broken stopped") as caught:
        async with plugin.connect(server):
            pass
    assert "failed to load model" in str(caught.value)


async def test_the_engine_ends_at_the_end_of_its_input(models: Path) -> None:
    argv = [sys.executable, "-P", "-m", "h2o_relay_llama_cpp.server", "--port", "0"]
    argv += ["--model", str(models / "models" / f"{NAME}.gguf"), "--alias", NAME]
    argv += ["--ctx", "256", "--slots", "1", "--threads", "1"]
    pipe = subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b"key\n")
    assert b"http://127.0.0.1:" in await child.stdout.readline()
    child.stdin.close()
    async with asyncio.timeout(5):
        # SIGTERM where the system tells of the end, else the child's own reading of it.
        assert await child.wait() in (-signal.SIGTERM, 0)
