"""What products answer to GETs, as far as it takes to tell them apart; to anything but a GET they
answer 500. The documents are shortened from those of the products (for llama.cpp, Gradio and the
relay real ones are asked in tests/e2e/test_bare_urls.py).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from h2o_relay.testing.scripts import whole
from h2o_relay.testing.upstream import Answer, Received, ScriptedUpstream

NOT_FOUND = {"detail": "Not Found"}


@dataclass
class Product:
    """A script for `ScriptedUpstream`: documents by path, and `other` for every other path. A
    document is text or JSON, or a tuple of it and its status. `key` is wanted for the paths in
    `guarded` (all of them if that is empty), as a Bearer token or, with a user, by Basic.
    """

    documents: Mapping[str, Any]
    other: Any = field(default_factory=lambda: (NOT_FOUND, 404))
    headers: Mapping[str, str] = field(default_factory=dict)
    authorization: str = ""
    guarded: tuple[str, ...] = ("",)
    refusal: Any = field(default_factory=lambda: {"error": "Unauthorized"})

    async def __call__(self, request: Received, answer: Answer) -> None:
        document = self.documents.get(request.path, self.other)
        if request.method != "GET":
            document = ({"error": f"{request.method} was not to come"}, 500)
        elif not self._may(request):
            document = (self.refusal, 401)
        content, status = document if isinstance(document, tuple) else (document, 200)
        text = isinstance(content, str)
        body = content.encode() if isinstance(content, str) else orjson.dumps(content)
        kind = "text/plain" if text else "application/json"
        await whole(body, status, kind, self.headers)(request, answer)

    def _may(self, request: Received) -> bool:
        if not self.authorization or not request.path.startswith(self.guarded):
            return True
        return request.headers.get("authorization") == self.authorization


def listed(owner: str, *names: str, **more: Any) -> dict[str, Any]:
    """OpenAI's list of models."""
    entries = [{"id": name, "object": "model", "created": 1, "owned_by": owner, **more}
               for name in names]  # fmt: skip
    return {"object": "list", "data": entries}


INFO = {
    "model_id": "meta/m", "model_sha": "12fd25f7", "model_pipeline_tag": "text-generation",
    "max_concurrent_requests": 128, "max_best_of": 2, "max_stop_sequences": 4,
    "max_input_tokens": 64, "max_total_tokens": 128, "validation_workers": 2,
    "max_client_batch_size": 4, "router": "text-generation-router", "version": "3.3.4",
    "sha": None, "docker_label": None,
}  # fmt: skip
TGI = Product(
    {"/info": INFO, "/v1/models": listed("meta/m", "meta/m"), "/health": ""}, other=("", 404)
)
VLLM = {
    "/version": {"version": "0.11.0"},
    "/v1/models": listed("vllm", "m", root="m", max_model_len=4096),
    "/metrics": '# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine="0"} 0\n',
    "/health": "",
}
LLAMA = {
    "/v1/models": listed("llamacpp", "m", meta={"n_ctx": 2048, "n_ctx_train": 8192}),
    "/models": listed("llamacpp", "m", meta={"n_ctx": 2048, "n_ctx_train": 8192}),
    "/props": {"default_generation_settings": {"n_ctx": 2048}, "total_slots": 2},
    "/health": {"status": "ok"},
}
LLAMA_OTHER = (
    {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}}, 404
)  # fmt: skip
LLAMA_REFUSAL = {
    "error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}
}
LOADING = (
    {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}, 503
)  # fmt: skip
LLAMA_HEADERS = {"server": "llama.cpp"}
OLLAMA = {
    "/": "Ollama is running",
    "/api/version": {"version": "0.12.6"},
    "/api/tags": {"models": [{"name": "m:latest", "model": "m:latest"}]},
    "/v1/models": listed("library", "m:latest"),
}
H2OGPT = {
    "/": "<html>window.gradio_config = {}</html>",
    "/config": {
        "version": "3.50.2", "mode": "blocks", "title": "h2oGPT", "protocol": "sse",
        "components": [{"id": 1, "type": "textbox", "props": {"value": ""}}],
        "dependencies": [
            {"id": 7, "api_name": "submit_nochat_api", "inputs": [1], "outputs": [1]},
            {"id": 8, "api_name": "model_names", "inputs": [], "outputs": [1]},
        ],
    },
}  # fmt: skip
LM_STUDIO = Product(
    {"/v1/models": listed("organization_owner", "m")},
    other={"error": "Unexpected endpoint or method. (GET /). Returning 200 anyway"},
)
OTHER = Product({"/v1/models": listed("openai", "a", "b"), "/version": {"version": "2"}})
BELOW = Product({"/models": listed("somebody", "a")})

PRODUCTS = {
    "tgi": (TGI, "tgi", ""),
    "vllm": (Product(VLLM), "vllm", "/v1"),
    "llama.cpp": (Product(LLAMA, LLAMA_OTHER, LLAMA_HEADERS), "llama_cpp", ""),
    "llama.cpp behind a proxy": (Product(LLAMA, LLAMA_OTHER), "llama_cpp", ""),
    "llama.cpp by its properties": (
        Product({**LLAMA, "/v1/models": listed("me", "m")}, LLAMA_OTHER), "llama_cpp", ""
    ),
    "llama.cpp that loads": (Product({}, LOADING, LLAMA_HEADERS), "llama_cpp", ""),
    "ollama": (Product(OLLAMA, ("404 page not found", 404)), "ollama", ""),
    "ollama below a proxy's page": (
        Product({**OLLAMA, "/": "welcome"}, ("404 page not found", 404)), "ollama", ""
    ),
    "h2ogpt": (Product(H2OGPT), "gradio_remote", ""),
    "lm studio": (LM_STUDIO, "openai", "/v1"),
    "anything else": (OTHER, "openai", "/v1"),
    "no v1": (BELOW, "openai", ""),
    "no models yet": (Product({"/v1/models": listed("x")}), "openai", "/v1"),
}  # fmt: skip
"""Each with the plugin whose it is, and what its URL has at its end then."""

STRANGERS = {
    "web page": Product({}, "<html>It works!</html>"),
    "json api": Product({}, {"status": "ok"}),
    "embeddings": Product({"/info": {"model_id": "m", "max_concurrent_requests": 5}}),
    "gradio app without a chat": Product(
        {"/config": {"version": "6.0.0", "components": [], "dependencies": []}}
    ),
    "version only": Product({"/version": {"version": "1.0"}, "/api/version": {"version": "1"}}),
}


class Background:
    """A scripted upstream on a loop of its own, for commands that have theirs."""

    def __init__(self, script: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.upstream = ScriptedUpstream(script)

    def __enter__(self) -> ScriptedUpstream:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.upstream.__aenter__(), self._loop).result(5)
        return self.upstream

    def __exit__(self, *_: object) -> None:
        leaving = self.upstream.__aexit__(None, None, None)
        asyncio.run_coroutine_threadsafe(leaving, self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
