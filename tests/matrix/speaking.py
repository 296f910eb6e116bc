"""What the stand-ins say: text, and whatever else a request asks for, in their servers' own shapes.

The protocols themselves are the plugins' own (`conformance.py`, `standin.py`); here they learn to
call tools, to reason, to tell log-probabilities and to give several answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from h2o_relay.testing.scripts import Play, json, stream
from h2o_relay.testing.upstream import Received
from h2o_relay.testing.wire import OpenAIWire
from h2o_relay_gradio_remote.standin import CallWire, component, dependency, message, named
from h2o_relay_ollama.conformance import JSON_LINES, WHEN, OllamaWire
from h2o_relay_sagemaker.standin import OpenAIContainer
from h2o_relay_tgi.conformance import Router, TgiWire

from .dialects_spoken import message_play, response_play

TEXTS = ("One", " two", " three.")
OBJECT = '{"city":"Oslo"}'
"""What is said where JSON is asked for, and the arguments of every call."""
THOUGHT = "Let me think."
LOGPROB = -0.25
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def calls_of(params: Mapping[str, Any]) -> list[str]:
    """The functions that the model calls: all it is told of, one where there may be only one."""
    choice = params.get("tool_choice")
    if not params.get("tools") or choice == "none":
        return []
    if isinstance(choice, dict):
        return [choice["function"]["name"]]
    names = [tool["function"]["name"] for tool in params["tools"]]
    return names[:1] if params.get("parallel_tool_calls") is False else names


def texts_of(params: Mapping[str, Any], texts: Sequence[str]) -> Sequence[str]:
    asked = (params.get("response_format") or {}).get("type")
    return [OBJECT] if asked in ("json_object", "json_schema", "json", "regex") else texts


def count_of(params: Mapping[str, Any]) -> int:
    """How many answers are asked for: `n` to each prompt."""
    prompt = params.get("prompt")
    several = isinstance(prompt, list) and not isinstance(prompt[0], int)
    return (params.get("n") or 1) * (len(prompt) if several else 1)


def chat_logprobs(params: Mapping[str, Any], texts: Sequence[str]) -> dict[str, Any] | None:
    if not params.get("logprobs"):
        return None
    tokens = [{"token": t, "logprob": LOGPROB, "bytes": list(t.encode())} for t in texts]
    most = params.get("top_logprobs") or 0
    return {"content": [{**token, "top_logprobs": [token] * most} for token in tokens]}


def text_logprobs(params: Mapping[str, Any], texts: Sequence[str]) -> dict[str, Any] | None:
    if params.get("logprobs") is None:
        return None
    count, tops = len(texts), [{text: LOGPROB} for text in texts]
    return {
        "tokens": list(texts), "token_logprobs": [LOGPROB] * count, "top_logprobs": tops,
        "text_offset": [0] * count,
    }  # fmt: skip


OTHER: Mapping[str, Any] = {
    "tokenize": {"count": 3, "tokens": [1, 2, 3], "max_model_len": None},
    "detokenize": {"prompt": "One"},
    "input_tokens": {"object": "response.input_tokens", "input_tokens": 3},
    "count_tokens": {"input_tokens": 3},
}
"""Answers at other paths, by their last words; those that are passed on as they are need no more
than to be there.
"""


class Speaking(OpenAIWire):
    """OpenAI's API, with Responses, Messages and the other paths for those that offer them."""

    owner = "test"
    text_logprobs = staticmethod(text_logprobs)

    def listing(self, names: Sequence[str]) -> Play:
        data = [{"id": name, "object": "model", "owned_by": self.owner} for name in names]
        return json({"object": "list", "data": data})

    def reply(self, request: Received, texts: Sequence[str], finish: str | None = "stop") -> Play:
        path = request.path.partition("?")[0]
        if path.endswith("/responses"):
            return response_play(request.json(), "".join(texts))
        if path.endswith("/messages"):
            return message_play(request.json(), "".join(texts))
        if path.endswith("/completions"):
            return super().reply(request, texts, finish)
        return json(OTHER.get(path.rpartition("/")[2], {"object": "list", "data": []}))

    def completion(
        self, request: Received, texts: Sequence[str], finish: str | None = "stop"
    ) -> dict[str, Any]:
        params, chat = request.json(), "messages" in request.json()
        texts, calls = texts_of(params, texts), calls_of(params)
        text = "".join(texts)
        body: dict[str, Any] = {"text": text, "logprobs": self.text_logprobs(params, texts)}
        if chat:
            said: dict[str, Any] = {"role": "assistant", "content": None if calls else text}
            if calls:
                said["tool_calls"] = [_call(n, name, OBJECT) for n, name in enumerate(calls)]
            if params.get("reasoning_effort"):
                said["reasoning_content"] = THOUGHT
            body = {"message": said, "logprobs": chat_logprobs(params, texts)}
        reason = "tool_calls" if calls else finish
        choices = [{"index": n, **body, "finish_reason": reason} for n in range(count_of(params))]
        return {**super().completion(request, texts, finish), "choices": choices, "usage": USAGE}

    def payloads(
        self, request: Received, texts: Sequence[str], finish: str | None = "stop"
    ) -> list[bytes]:
        params, chat = request.json(), "messages" in request.json()
        texts, calls = texts_of(params, texts), calls_of(params)
        if chat:
            parts: list[dict[str, Any]] = [{"delta": {"role": "assistant", "content": ""}}]
            if params.get("reasoning_effort"):
                parts.append({"delta": {"reasoning_content": THOUGHT}})
            if calls:
                parts += [{"delta": {"tool_calls": [piece]}} for piece in _call_pieces(calls)]
            else:
                parts += [
                    {"delta": {"content": t}, "logprobs": chat_logprobs(params, [t])} for t in texts
                ]
            last: dict[str, Any] = {"delta": {}}
        else:
            parts = [{"text": t, "logprobs": self.text_logprobs(params, [t])} for t in texts]
            last = {"text": ""}
        reason = "tool_calls" if calls else finish
        events = []
        for number in range(count_of(params)):
            said = [{"finish_reason": None, **part} for part in parts]
            said.append({**last, "finish_reason": reason})
            events += [self._event(params, {"index": number, **piece}) for piece in said]
        if (params.get("stream_options") or {}).get("include_usage"):
            events.append({**self._event(params), "usage": USAGE})
        return [orjson.dumps(event) for event in events]


def _call(number: int, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": f"call_{number}", "type": "function", "function": function}


def _call_pieces(names: Sequence[str]) -> list[dict[str, Any]]:
    """The calls as a stream has them: the name first, the arguments in two pieces."""
    pieces: list[dict[str, Any]] = []
    for number, name in enumerate(names):
        pieces.append({"index": number, **_call(number, name, "")})
        pieces += [
            {"index": number, "function": {"arguments": part}} for part in (OBJECT[:6], OBJECT[6:])
        ]
    return pieces


LLAMA_CPP: Mapping[str, Any] = {
    "/tokenize": {"tokens": [1, 2, 3]},
    "/detokenize": {"content": "One"},
    "/apply-template": {"prompt": "One"},
}
"""What llama.cpp has beside /v1."""


class LlamaCpp(Speaking):
    """llama.cpp's server says whose the models are, and counts tokens. The log-probabilities of its
    texts have the shape of a chat's.
    """

    owner = "llamacpp"

    @staticmethod
    def text_logprobs(params: Mapping[str, Any], texts: Sequence[str]) -> dict[str, Any] | None:
        return chat_logprobs({**params, "top_logprobs": params.get("logprobs")}, texts)

    def reply(self, request: Received, texts: Sequence[str], finish: str | None = "stop") -> Play:
        beside = LLAMA_CPP.get(request.path)
        if beside is not None:
            return json(beside)
        return super().reply(request, texts, finish)


class Tgi(Router, Speaking):
    """TGI: its Messages API, and /generate for texts."""

    native = TgiWire()

    def listing(self, names: Sequence[str]) -> Play:
        return Router.listing(self, names)

    def reply(self, request: Received, texts: Sequence[str], finish: str | None = "stop") -> Play:
        if request.path == "/tokenize":
            return json([{"id": n, "text": "a", "start": n, "stop": n + 1} for n in range(3)])
        if not request.path.startswith("/generate"):
            return Speaking.reply(self, request, texts, finish)
        texts = [OBJECT] if request.json()["parameters"].get("grammar") else texts
        return self.native.reply(request, texts, finish)


class OpenAIPayload(OpenAIContainer):
    """A SageMaker container that speaks OpenAI's shape."""

    inner = Speaking()


class Ollama(OllamaWire):
    """Ollama's native API."""

    def reply(self, request: Received, texts: Sequence[str], finish: str | None = "stop") -> Play:
        params = request.json()
        if request.path.startswith("/v1/"):  # what it has in OpenAI's shape
            return Speaking().reply(request, texts, finish)
        if request.path == "/api/embed":
            return json({"model": params["model"], "embeddings": [[0.5]], "prompt_eval_count": 3})
        texts = [OBJECT] if params.get("format") else texts
        said: dict[str, Any] = {}
        if request.path == "/api/chat" and params.get("tools"):
            texts, said["tool_calls"] = (
                [""],
                [
                    {"function": {"name": t["function"]["name"], "arguments": {"city": "Oslo"}}}
                    for t in params["tools"]
                ],
            )
        if params.get("think"):
            said["thinking"] = THOUGHT
        lines = [self._said(request, text) for text in texts]
        if request.path == "/api/chat":
            lines[0]["message"] |= said
        for line, text in zip(lines, texts, strict=True):
            if params.get("logprobs"):
                token = {"token": text, "logprob": LOGPROB, "bytes": list(text.encode())}
                tops = {"top_logprobs": [token] * (params.get("top_logprobs") or 0)}
                line["logprobs"] = [{**token, **tops}]
        if params["stream"]:
            lines.append({**self._said(request, ""), **self._end(texts, finish)})
            return stream([orjson.dumps(one) + b"\n" for one in lines], content_type=JSON_LINES)
        whole = self._said(request, "".join(texts))
        if request.path == "/api/chat":
            whole["message"] |= said
        if params.get("logprobs"):
            whole["logprobs"] = [token for line in lines for token in line["logprobs"]]
        return json({**whole, **self._end(texts, finish), "created_at": WHEN})


class ChatApp(CallWire):
    """A gr.ChatInterface, Gradio 6: its /chat, and the endpoint that sets a session's history."""

    config = {
        "version": "6.31.0", "protocol": "sse_v3", "api_prefix": "/gradio_api",
        "mode": "chat_interface", "title": "Parrot",
        "components": [
            component(1, "textbox"), component(2, "state"), component(3, "chatbot"),
            component(4, "json"),
        ],
        "dependencies": [
            dependency(0, "chat", [1, 2], [4, 2]),
            dependency(1, "", [3], [2], queue=False),
        ],
    }  # fmt: skip

    def reply(self, request: Received, texts: Sequence[str], finish: str | None = "stop") -> Play:
        said: list[Any] = ["".join(texts), None]
        if "/queue/data" in request.path:
            over = message("process_completed", output={"data": said}, success=True)
            return stream([over, message("close_stream")])
        return stream([named("complete", said)])
