"""The container's side: a real Cog server runs a model with the inputs that the plugin makes.

Cog is what every model on Replicate runs in. It has no `/v1`, no streaming URL and no prediction to
look up later, so the API in front of it stays the stand-in's. Runs where `cog` is installed.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from h2o_relay.errors import UpstreamError
from h2o_relay.http import HttpClient
from h2o_relay.settings import environment
from h2o_relay.testing.settings import quick
from h2o_relay.types import Deployment, Request, Server
from h2o_relay_replicate.inputs import build
from h2o_relay_replicate.prediction import Prediction
from h2o_relay_replicate.schema import read
from h2o_relay_replicate.standin import Cloud

from .replicate_kit import chat

pytest.importorskip("cog", reason="the cog package is not installed")
pytestmark = pytest.mark.e2e

MODEL = """
from cog import BasePredictor, ConcatenateIterator, Input


class Predictor(BasePredictor):
    def predict(
        self,
        prompt: str = Input(description="Prompt"),
        system_prompt: str = Input(default=""),
        max_tokens: int = Input(default=512),
        temperature: float = Input(default=0.6, ge=0.01, le=5),
        top_p: float = Input(default=1.0),
        top_k: int = Input(default=50),
        presence_penalty: float = Input(default=0.0),
        seed: int = Input(default=1),
        stop_sequences: str = Input(default=""),
        prompt_template: str = Input(default="<s>[INST] {prompt} [/INST]"),
    ) -> ConcatenateIterator[str]:
        if prompt == "fail":
            raise ValueError("out of memory")
        text = prompt_template.format(prompt=prompt)
        for word in [system_prompt, *text.split()][:max_tokens]:
            yield word + "|"
"""
DEPLOYMENT = Deployment(name="llama", server=Server(plugin="replicate"), model="meta/llama")
READY = 30.0  # seconds
BUSY = 409
SLOW = quick(connect_timeout=10.0, first_byte_timeout=20.0, request_timeout=20.0)


@asynccontextmanager
async def container(folder: Path) -> AsyncIterator[str]:
    """The URL of a running Cog server; it publishes the stand-in's schema."""
    (folder / "predict.py").write_text(MODEL)
    (folder / ".cog").mkdir()
    schema = Cloud().version()["openapi_schema"]
    (folder / ".cog" / "openapi_schema.json").write_bytes(orjson.dumps(schema))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = environment()
    env |= {"PORT": str(port), "COG_PREDICT_TYPE_STUB": "predict.py:Predictor"}
    env["PATH"] = f"{Path(sys.executable).parent}:{env.get('PATH', '')}"
    command = (sys.executable, "-m", "cog.server.http", "--host", "127.0.0.1")
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=env, stdout=log, stderr=log
        )
    try:
        url = f"http://127.0.0.1:{port}"
        await ready(url, folder / "log")
        yield url
    finally:
        process.terminate()
        await process.wait()


async def ready(url: str, log: Path) -> None:
    deadline = asyncio.get_running_loop().time() + READY
    async with HttpClient(SLOW) as http:
        while asyncio.get_running_loop().time() < deadline:
            try:
                _, _, body = await http.get(f"{url}/health-check")
            except UpstreamError:
                body = b"{}"
            if orjson.loads(body).get("status") == "READY":
                return
            await asyncio.sleep(0.1)
    pytest.fail(f"cog did not start: {tail(log)}")


def tail(log: Path) -> str:
    return log.read_text()[-2000:]


async def predict(url: str, given: Any) -> tuple[int, dict[str, Any]]:
    """A prediction's status and body. The container has one slot, which it frees a moment *after*
    it has answered: until then a new prediction is a 409."""
    deadline = asyncio.get_running_loop().time() + READY
    status, body = await predict_once(url, given)
    while status == BUSY and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.05)
        status, body = await predict_once(url, given)
    return status, body


async def predict_once(url: str, given: Any) -> tuple[int, dict[str, Any]]:
    async with (
        HttpClient(SLOW) as http,
        http.request(
            "POST",
            f"{url}/predictions",
            headers={"content-type": "application/json"},
            body=orjson.dumps({"id": "p1", "input": given}),
        ) as response,
    ):
        return response.status, orjson.loads(await response.read(2**20))


def inputs(params: dict[str, Any], prompt: str | None = None) -> dict[str, Any]:
    request = Request(kind="chat", params=params, body=None, deployment=DEPLOYMENT, prompt=prompt)
    found, ignored = build(request, read(Cloud().entry()))
    assert ignored == []
    return found


async def test_a_real_container_takes_the_inputs_that_we_make(tmp_path: Path) -> None:
    every = chat("Hi", system="Sys", max_tokens=9, temperature=0, top_p=0.5, top_k=3, seed=7,
                 presence_penalty=0.1, stop=["a", "b"])  # fmt: skip
    async with container(tmp_path) as url:
        chatted = await predict(url, inputs(every))
        rendered = await predict(url, inputs(chat("x"), prompt="USER: Hi"))
        failed = await predict(url, inputs(chat("fail")))
        refused = await predict(url, {**inputs(every), "max_tokens": "many"})
    assert chatted[0] == 200
    assert Prediction(chatted[1]).text() == "Sys|<s>[INST]|Hi|[/INST]|"
    assert Prediction(rendered[1]).text() == "|USER:|Hi|", "nothing was put around it"
    with pytest.raises(UpstreamError, match="out of memory"):
        Prediction(failed[1]).check(None)
    assert refused[0] == 422
