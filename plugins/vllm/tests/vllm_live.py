"""A real vLLM for tests, and its answers as the conformance suite's wire.

H2O_TEST_VLLM names vLLM's command, or the Python that has vLLM; H2O_TEST_VLLM_MODEL a folder with a
model, in place of one with random weights.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import http.client
import os
import shlex
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

import h2o_relay_vllm as plugin
from h2o_relay import settings
from h2o_relay.resolve import resolve
from h2o_relay.testing.scripts import LAST, Play, chunk, event, play, stream, whole
from h2o_relay.testing.upstream import Received
from h2o_relay.testing.wire import OpenAIWire
from h2o_relay.types import Endpoint, Server

from . import vllm_tiny

COMMAND, MODEL = "H2O_TEST_VLLM", "H2O_TEST_VLLM_MODEL"
ARGS = (
    "--max-model-len 1024 --max-num-seqs 8 --enforce-eager --dtype float32 "
    "--enable-auto-tool-choice --tool-call-parser hermes"
)
"""In 32 bits a real model hardly ever gives two tokens the same weight."""
CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
"""For vLLM's CPU build on a small machine, which others use too; other builds take no notice."""
START_LIMIT = 400.0  # seconds
HEADERS = frozenset({"content-type", "date", "server", "vary"})


def environment(name: str, folder: Path) -> tuple[dict[str, str], str]:
    """The variables that have the relay start the real thing, and its server string.

    The model is called `name`, whatever folder it is in.
    """
    command = os.environ[COMMAND]
    option = "PYTHON" if Path(command).name.startswith("python") else "COMMAND"
    args, model = ARGS, os.environ.get(MODEL)
    if model is None:
        model = str(vllm_tiny.write(folder / "model"))
        args += f" {shlex.join(vllm_tiny.LOAD)}"
    env = {
        f"H2O_VLLM_{option}": command,
        "H2O_VLLM_ARGS": f"{args} --served-model-name {name}",
        "H2O_VLLM_START_LIMIT": str(START_LIMIT),
        **CPU,
    }
    return env, f"vllm_chat:local:{model}"


@dataclass(frozen=True, slots=True)
class Live:
    """A running vLLM."""

    endpoint: Endpoint

    @property
    def place(self) -> str:
        return urlsplit(self.endpoint.url).netloc

    @property
    def key(self) -> str:
        return self.endpoint.headers["authorization"].removeprefix("Bearer ")

    def ask(self, path: str, body: Any = None) -> tuple[int, dict[str, str], bytes]:
        """One request, read to its end: status, headers that are its own, body."""
        connection = http.client.HTTPConnection(self.place, timeout=120)
        try:
            data = None if body is None else orjson.dumps(body)
            headers = {**self.endpoint.headers, "content-type": "application/json"}
            connection.request("GET" if data is None else "POST", path, data, headers)
            with connection.getresponse() as response:
                kept = {n.lower(): v for n, v in response.getheaders() if n.lower() in HEADERS}
                return response.status, kept, response.read()
        finally:
            connection.close()

    def json(self, path: str, body: Any = None) -> Any:
        status, _, answer = self.ask(path, body)
        assert status == 200, answer
        return orjson.loads(answer)


class Runner(threading.Thread):
    """A vLLM started by the plugin, on a loop of its own: it outlives the tests' loops."""

    def __init__(self, server: Server) -> None:
        super().__init__(name="vLLM")
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self.started: concurrent.futures.Future[Live] = concurrent.futures.Future()

    def run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            if self.started.done():
                raise
            self.started.set_exception(error)
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        async with plugin.connect(self._server) as endpoint:
            self.started.set_result(Live(endpoint))
            await self._ending.wait()

    def stop(self) -> None:
        if self.is_alive():
            self._loop.call_soon_threadsafe(self._ending.set)
        self.join()


@contextmanager
def started(env: Mapping[str, str], text: str) -> Iterator[Live]:
    """A real vLLM for as long as the block lasts."""
    server = plugin.parse_server_string(text)
    assert server is not None
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        runner = Runner(resolve(server, None, settings.environment()))
        runner.start()
        live = runner.started.result()
    try:
        yield live
    finally:
        runner.stop()


@dataclass
class LiveWire(OpenAIWire):
    """What the real server says, byte for byte, made to say the suite's texts.

    Each request that the relay sends is sent on, with structured outputs that leave the model one
    text only, and the suite then cuts, spoils and delays what came back. A request is sent on once,
    and what it brought is kept.
    """

    live: Live | None = None
    kept: dict[Any, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)

    def get(self, path: str, body: Any = None, *, texts: tuple[str, ...] = ()) -> Any:
        assert self.live is not None, "the real server is not running"
        key = (path, None if body is None else orjson.dumps(body), texts)
        if key not in self.kept:
            if texts:
                only = {"structured_outputs": {"choice": ["".join(texts)]}, "max_tokens": 900}
                body = {**body, **only}
            self.kept[key] = self.live.ask(path, body)
        return self.kept[key]

    def answer(self, request: Received, texts: Sequence[str]) -> tuple[int, dict[str, str], bytes]:
        status, headers, body = self.get(request.path, request.json(), texts=tuple(texts))
        assert status == 200, body
        return status, headers, body

    def listing(self, names: Sequence[str]) -> Play:
        _, headers, body = self.get("/v1/models")
        entry = orjson.loads(body)["data"][0]
        if list(names) == [entry["id"]]:
            return whole(body, headers=headers)
        entries = [{**entry, "id": name} for name in names]
        return whole(orjson.dumps({"object": "list", "data": entries}), headers=headers)

    def reply(self, request: Received, texts: Sequence[str], finish: str | None = "stop") -> Play:
        _, headers, body = self.answer(request, texts)
        if finish is None:
            body = body.replace(b'"finish_reason":"stop"', b'"finish_reason":null')
        if not request.json().get("stream"):
            return whole(body, headers=headers)
        pieces = [piece + b"\n\n" for piece in body.split(b"\n\n") if piece]
        return stream(pieces, headers=headers)

    def payloads(
        self, request: Received, texts: Sequence[str], finish: str | None = "stop"
    ) -> list[bytes]:
        events = self.answer(request, texts)[2].split(b"\n\n")
        found = [item.removeprefix(b"data: ") for item in events if item]
        assert found.pop() == b"[DONE]"
        return found

    def refusal(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> Play:
        """The real refusal of a model that is not there, with another status and message."""
        asked = {"model": "no-such-model", "messages": [{"role": "user", "content": "a"}]}
        real, own, body = self.get("/v1/chat/completions", asked)
        assert real == 404
        error = {**orjson.loads(body)["error"], "message": message, "code": status}
        return whole(orjson.dumps({"error": error}), status, headers={**own, **(headers or {})})

    def failing(self, request: Received, texts: Sequence[str], message: str) -> Play:
        """vLLM's `create_streaming_error_response` and its `[DONE]` after the real texts."""
        whole_reply = self.reply(request, texts, None)
        pieces = self.payloads(request, texts)
        error = {"message": message, "type": "InternalServerError", "param": None, "code": 500}
        failure = event(orjson.dumps({"error": error}))
        ending = chunk(failure), chunk(event(b"[DONE]")), LAST
        usage = sum(b'"choices":[]' in piece for piece in pieces)
        return whole_reply.upto(len(pieces) - usage) + play(*ending)
