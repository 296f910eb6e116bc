"""An upstream that answers whatever it is asked, well, as an OpenAI-shaped server does."""

from __future__ import annotations

from typing import Any

import orjson

from h2o_relay.testing.scripts import json, sse
from h2o_relay.testing.upstream import Answer, Received

USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
OTHERS: dict[str, Any] = {
    "/v1/embeddings": {"object": "list", "data": [{"index": 0, "embedding": [0.5]}]},
    "/v1/rerank": {"results": [{"index": 0, "relevance_score": 0.5}]},
    "/v1/score": {"data": [{"index": 0, "score": 0.5}]},
    "/v1/moderations": {"results": [{"flagged": False}]},
    "/v1/chat/completions/input_tokens": {"input_tokens": 1},
    "/tokenize": {"tokens": [1], "count": 1, "max_model_len": 10},
    "/detokenize": {"prompt": "x"},
    "/v1/audio/speech": {"made": "up"},
    "/v1/audio/transcriptions": {"text": "x"},
    "/v1/audio/translations": {"text": "x"},
    "/v1/images/generations": {"created": 1, "data": []},
    "/v1/images/edits": {"created": 1, "data": []},
    "/v1/images/variations": {"created": 1, "data": []},
}
OTHERS |= {f"/v1{path}": OTHERS[path] for path in ("/tokenize", "/detokenize")}


async def well(request: Received, answer: Answer) -> None:
    """Chats, texts, and what else is asked for; to everything else it says that all is well."""
    path = request.path.partition("?")[0]
    if not path.endswith("/completions"):
        await json(OTHERS.get(path, {}))(request, answer)
        return
    asked = request.json()
    kind = "chat" if "chat" in path else "text"
    choices = range((asked.get("n") or 1) * _prompts(asked.get("prompt")))
    if asked.get("stream"):
        await sse(_events(kind, choices, asked))(request, answer)
        return
    said = {"message": {"role": "assistant", "content": "hi"}} if kind == "chat" else {"text": "hi"}
    made = [{"index": n, **said, "finish_reason": "stop"} for n in choices]
    name = "chat.completion" if kind == "chat" else "text_completion"
    await json({"id": "c", "object": name, "choices": made, "usage": USAGE})(request, answer)


def _prompts(prompt: Any) -> int:
    """How many texts a request has; token ids are one."""
    several = isinstance(prompt, list) and not isinstance(prompt[0], int)
    return len(prompt) if several else 1


def _events(kind: str, choices: range, asked: dict[str, Any]) -> list[bytes]:
    said: dict[str, Any] = {"delta": {"content": "hi"}} if kind == "chat" else {"text": "hi"}
    events = [{"choices": [{"index": n, **said, "finish_reason": "stop"}]} for n in choices]
    if (asked.get("stream_options") or {}).get("include_usage"):
        events.append({"choices": [], "usage": USAGE})
    return [orjson.dumps({"id": "c", **event}) for event in events]
