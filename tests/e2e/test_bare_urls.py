"""What lives behind a bare URL, with the real things there: llama.cpp's server, a relay, our UI."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import KEY, MODEL, Relay, h2o, relay

pytestmark = pytest.mark.e2e
ASK = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "temperature": 0}


@pytest.fixture(scope="module")
def bare(llama_server: str) -> str:
    """The llama.cpp server's bare URL, in h2oGPT's form for a user and a password."""
    return f"{llama_server.removesuffix('/v1')}:anybody:{KEY}"


@pytest.fixture(scope="module")
def with_ui(llama_server: str) -> Iterator[Relay]:
    """A relay with its chat UI, in front of the llama.cpp server."""
    host = llama_server.removeprefix("http://").removesuffix("/v1")
    with relay(f"vllm_chat:http://{host}:/v1:{KEY}", "--ui", "--port=0", ready=False) as running:
        running.wait_for(r"The chat UI is ready: http://\S+")
        yield running


GRADIO = """
import sys, gradio as gr
def say(message, history):
    return "You said: " + message
launched = gr.ChatInterface(say).launch(
    server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
print(launched[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def gradio() -> Iterator[str]:
    """A real Gradio chat: its URL."""
    pytest.importorskip("gradio")
    with subprocess.Popen(
        [sys.executable, "-c", GRADIO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield process.stdout.readline().strip().rstrip("/")
        process.communicate(timeout=20)


def check(*words: str) -> tuple[int, list[dict[str, Any]]]:
    done = subprocess.run(
        [h2o(), "check", "--json", *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode in (0, 1), done.stderr
    assert KEY not in done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


def tokens_so_far(llama_server: str) -> list[str]:
    """llama.cpp's counts of the tokens that it has read and written."""
    page = httpx.get(
        f"{llama_server.removesuffix('/v1')}/metrics", headers={"authorization": f"Bearer {KEY}"}
    ).text
    found = re.findall(r"^llamacpp:(?:prompt_tokens|tokens_predicted)_total \d+$", page, re.M)
    assert len(found) == 2
    return found


def test_each_is_told_and_nothing_is_generated(
    with_ui: Relay, bare: str, gradio: str, llama_server: str
) -> None:
    before = tokens_so_far(llama_server)
    code, (llama, api, page) = check(bare, with_ui.url, gradio)
    assert tokens_so_far(llama_server) == before
    assert code == 0
    assert [row["backend"] for row in (llama, api, page)] == [
        "llama_cpp", "openai", "gradio_remote"
    ]  # fmt: skip
    assert llama["models"] == [{"id": "smollm2", "max_context": 2048}]
    assert llama["capabilities"]["tokenizer"]
    assert api["models"] == [{"id": "smollm2", "max_context": 2048}]
    assert page["models"]


def test_each_answers_with_one_token(with_ui: Relay, bare: str, gradio: str) -> None:
    code, rows = check(bare, with_ui.url, gradio, "--generate")
    trips = [row["generate"] for row in rows]
    assert code == 0, trips
    assert trips[2]["text"] == "You said: Say hello."
    for trip in trips[:2]:
        # llama.cpp sends no text for a token that is half a character
        assert trip["finish_reason"] == "length"
        assert trip["model"] == "smollm2"
        assert 0 < trip["seconds"] < 30


def test_our_own_page_is_told(with_ui: Relay) -> None:
    url = with_ui.wait_for(r"The chat UI is ready: (http://\S+)")[1]
    code, [row] = check(url)
    assert (code, row["backend"]) == (0, "gradio_remote")


def test_the_wrong_key_is_told_and_so_is_the_product(llama_server: str) -> None:
    url = llama_server.removesuffix("/v1")
    code, [row] = check(url)
    assert (code, row["backend"], row["state"]) == (1, "llama_cpp", "auth-error")
    assert "refused the relay's credentials" in row["reason"]


def test_a_relay_in_front_of_bare_urls(bare: str, with_ui: Relay) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with relay(bare, with_ui.url, dead) as running:
            running.wait_for(rf"{dead} +offline: not identified yet: the upstream")
            names = [m["id"] for m in httpx.get(f"{running.url}/v1/models").json()["data"]]
            assert names == ["smollm2", "smollm2_1"]
            for name in names:
                answer = httpx.post(
                    f"{running.url}/v1/chat/completions", json={**ASK, "model": name}, timeout=30
                )
                assert answer.status_code == 200
                assert answer.json()["choices"][0]["message"]["content"]


def test_servers_on_this_machine_stand_beside_the_embedded_model(
    model_file: Path, llama_server: str, with_ui: Relay, gradio: str
) -> None:
    """The llama.cpp server wants a key and the relay is a relay: both are named and left out."""
    urls = [llama_server.removesuffix("/v1"), with_ui.url, gradio]
    ports = ",".join(url.rpartition(":")[2] for url in urls)
    with relay("--discover", f"--discover-ports={ports}") as running:
        running.wait_for(f"{urls[0]} wants a key and is left out")
        running.wait_for(f"{urls[1]} is another relay and is left out")
        running.wait_for(f"found gradio_remote at {gradio}, served as well")
        models = httpx.get(f"{running.url}/v1/models").json()["data"]
        assert [model["owned_by"] for model in models] == ["llama_cpp", "gradio_remote"]
        assert models[0]["id"] == MODEL
        answer = httpx.post(
            f"{running.url}/v1/chat/completions", json={**ASK, "model": models[1]["id"]}, timeout=30
        )
        assert answer.json()["choices"][0]["message"]["content"] == "You said: Hi"
