"""The ollama plugin under the conformance suite, by both of Ollama's native routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from h2o_relay.testing.scripts import LAST, Play, chunk, json, play, stream
from h2o_relay.testing.suite import BackendSuite, does_not_apply
from h2o_relay.testing.upstream import Received
from h2o_relay.testing.wire import Wire

JSON_LINES = "application/x-ndjson"
WHEN = "2026-11-22T20:00:00.123456Z"


class OllamaWire(Wire):
    """`/api/chat` and `/api/generate`, with the fields of Ollama's docs/openapi.yaml."""

    def is_listing(self, request: Received) -> bool:
        return request.path in ("/api/tags", "/api/show", "/api/ps")

    def listing(self, names: Sequence[str]) -> Play:
        return json({"models": [{"name": name, "model": name, "size": 1} for name in names]})

    def reply(self, request: Received, texts: Sequence[str], finish: str | None = "stop") -> Play:
        if not request.json()["stream"]:
            return json({**self._said(request, "".join(texts)), **self._end(texts, finish)})
        lines = [self._said(request, text) for text in texts]
        if finish:
            lines.append({**self._said(request, ""), **self._end(texts, finish)})
        return stream([orjson.dumps(one) + b"\n" for one in lines], content_type=JSON_LINES)

    def refusal(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> Play:
        return json({"error": message}, status, headers)

    def failing(self, request: Received, texts: Sequence[str], message: str) -> Play:
        said = self.reply(request, texts, None)
        return said.upto(len(texts)) + play(chunk(orjson.dumps({"error": message}) + b"\n"), LAST)

    def _said(self, request: Received, text: str) -> dict[str, Any]:
        chat = request.path == "/api/chat"
        body = {"message": {"role": "assistant", "content": text}} if chat else {"response": text}
        return {"model": request.json()["model"], "created_at": WHEN, **body, "done": False}

    def _end(self, texts: Sequence[str], finish: str | None) -> dict[str, Any]:
        counts = {"prompt_eval_count": 3, "eval_count": len(texts)}
        return {"done": True, "done_reason": finish, **counts} if finish else {}


class TestOllama(BackendSuite):
    plugin = "ollama"
    speaks = OllamaWire()
    documented = {
        "ollama": {"url": None, "api": "chat", "key": None, "url_env": ("OLLAMA_HOST",)},
        "ollama:192.168.1.46": {"url": "http://192.168.1.46:11434", "api": "chat"},
        "ollama:192.168.1.46:11434": {"url": "http://192.168.1.46:11434", "key_env": ()},
        "ollama:http://localhost:11434": {"url": "http://localhost:11434"},
        "ollama:http://localhost:11434/v1/": {"url": "http://localhost:11434"},
        "ollama:https://gpu.example.com/ollama": {"url": "https://gpu.example.com/ollama"},
        "ollama:gpu.example.com:8080:/ollama:KEY": {
            "url": "http://gpu.example.com:8080/ollama",
            "key": "KEY",
        },
        "ollama:https://ollama.com": {
            "url": "https://ollama.com",
            "key_env": ("OLLAMA_API_KEY",),
        },
        "ollama:[::1]:11434": {"url": "http://[::1]:11434"},
    }
    foreign = ("ollamas:host", "ollama_chat:host", "OLLAMA", "vllm:host:8000")
    malformed = (
        "ollama:",
        "ollama:host:99999",
        "ollama:host:11434:None:KEY:more",
        "ollama:ftp://host",
        "ollama:bad host:11434",
    )
    secret_string = f"ollama:host:11434:None:{BackendSuite.secret}"
    expected_capabilities = {"kinds": frozenset({"chat", "text"}), "tokenizer": False}

    test_payloads_are_the_upstreams_own = does_not_apply("Ollama's native API is not OpenAI's")

    def server_for(self, url: str) -> str:
        return f"ollama:{url}"


class TestOllamaText(TestOllama):
    """The same by `/api/generate`."""

    kind = "text"
