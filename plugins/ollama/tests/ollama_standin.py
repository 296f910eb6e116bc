"""A stand-in for an Ollama server, written from its published API document.

It refuses every request with a field that is not documented, and checks each of its own answers
against the same tables (`ollama_fields`). What it says is made from what it is told, word by word;
a word is a token. Orders within the last message or prompt:

- `call NAME`     answers with two calls of that tool, each on a line of its own
- `think`         thinks first, if `think` was asked for
- `break`         reports an error after the first word
- `gone`          answers 500 before the first word
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from h2o_relay.testing.scripts import Play, json, stream, whole
from h2o_relay.testing.upstream import Answer, Received

from . import ollama_fields as fields

CHATTY, EMBEDDER = "llama3.2:latest", "all-minilm:latest"
JSON_LINES = "application/x-ndjson"
WHEN = "2026-11-22T20:00:00.123456Z"
TRAINED, MODELFILE_CTX = 131072, 4096
BROKEN = "an error was encountered while running the model"
NO_MEMORY = "model requires more system memory (5.6 GiB) than is available (2.1 GiB)"
TOO_LONG = "the input length exceeds the context length"
ABILITIES = {
    CHATTY: ["completion", "tools", "thinking", "vision", "insert"],
    EMBEDDER: ["embedding"],
}
DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "3.2B",
    "quantization_level": "Q4_K_M",
}
REQUESTS = {
    "/api/chat": (fields.CHAT_REQUEST, fields.CHAT_RESPONSE),
    "/api/generate": (fields.GENERATE_REQUEST, fields.GENERATE_RESPONSE),
    "/api/embed": (fields.EMBED_REQUEST, fields.EMBED_RESPONSE),
    "/api/show": (fields.SHOW_REQUEST, fields.SHOW_RESPONSE),
}


class StandIn:
    """A script for `ScriptedUpstream`. `asked` are the decoded bodies in order, with their path;
    `loaded` the models in memory with their `keep_alive`.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.loaded: dict[str, Any] = {}
        self.v1 = True
        """Whether it has paths below /v1 at all; each came with a version of its own."""

    async def __call__(self, request: Received, answer: Answer) -> None:
        await self.play(request)(request, answer)

    def play(self, request: Received) -> Play:
        path = request.path.partition("?")[0]
        if request.method in ("GET", "HEAD"):
            return self._document(path)
        if path.startswith("/v1/") and self.v1:
            return json({"path": request.path, "body": request.body.decode()})
        if path not in REQUESTS:
            return whole(b"404 page not found", 404, "text/plain")
        said = orjson.loads(request.body)
        self.asked.append((path, said))
        known, _ = REQUESTS[path]
        problem = fields.wrong(said, known) or (None if said.get("model") else "model is required")
        if problem:
            return refusal(400, problem)
        if self._name(said["model"]) not in ABILITIES:
            return refusal(404, f"model '{said['model']}' not found")
        return getattr(self, f"_{path.rpartition('/')[2]}")(said)

    def _document(self, path: str) -> Play:
        listed = [
            {"name": name, "model": name, "size": 2019393189, "digest": "a80c4f17acd5",
             "details": DETAILS} for name in ABILITIES
        ]  # fmt: skip
        running = [
            {**one, "expires_at": WHEN, "size_vram": 2019393189, "context_length": MODELFILE_CTX}
            for one in listed if one["name"] in self.loaded
        ]  # fmt: skip
        documents = {
            "/api/version": ({"version": "0.12.6"}, fields.VERSION_RESPONSE),
            "/api/tags": (
                {"models": [{**one, "modified_at": WHEN} for one in listed]}, fields.TAGS_RESPONSE
            ),
            "/api/ps": ({"models": running}, fields.PS_RESPONSE),
        }  # fmt: skip
        if path == "/":
            return whole(b"Ollama is running", content_type="text/plain; charset=utf-8")
        if path not in documents:
            return whole(b"404 page not found", 404, "text/plain")
        return json(checked(*documents[path]))

    def _show(self, said: dict[str, Any]) -> Play:
        name = self._name(said["model"])
        shown = {
            "license": "A licence.",
            "parameters": f'num_ctx                        {MODELFILE_CTX}\nstop    "<|eot_id|>"',
            "template": "{{ .Prompt }}",
            "details": DETAILS,
            "model_info": {"general.architecture": "llama", "llama.context_length": TRAINED},
            "capabilities": ABILITIES[name],
            "modified_at": WHEN,
        }
        if name == EMBEDDER:
            shown |= {"parameters": "", "model_info": {"general.architecture": "bert",
                                                       "bert.context_length": 512}}  # fmt: skip
        return json(checked(shown, fields.SHOW_RESPONSE))

    def _embed(self, said: dict[str, Any]) -> Play:
        self._keep(said)
        texts = [said["input"]] if isinstance(said["input"], str) else said["input"]
        texts = [text for text in texts if text]
        if said.get("truncate") is False and any(len(t.split()) > 512 for t in texts):
            return refusal(400, TOO_LONG)
        size = said.get("dimensions") or 4
        vectors = [[round(len(text) / (n + 1), 6) for n in range(size)] for text in texts]
        answer = {
            "model": said["model"],
            "embeddings": vectors,
            "total_duration": 14143917,
            "load_duration": 1019500,
            "prompt_eval_count": sum(len(text.split()) for text in texts),
        }
        return json(checked(answer, fields.EMBED_RESPONSE))

    def _generate(self, said: dict[str, Any]) -> Play:
        prompt = said.get("prompt", "")
        if not prompt and said.get("keep_alive") == 0:
            self.loaded.pop(self._name(said["model"]), None)
            return json(line(said, {"response": ""}, done_reason="unload"))
        if "completion" not in ABILITIES[self._name(said["model"])]:
            return refusal(400, f'"{said["model"]}" does not support generate')
        self._keep(said)
        if not prompt:
            return json(line(said, {"response": ""}, done_reason="load"))
        return self._speak(said, prompt, prompt.split())

    def _chat(self, said: dict[str, Any]) -> Play:
        self._keep(said)
        if not said["messages"]:
            return json(line(said, {"message": message("")}, done_reason="load"))
        read = [word for one in said["messages"] for word in one.get("content", "").split()]
        return self._speak(said, said["messages"][-1].get("content", ""), read)

    def _speak(self, said: dict[str, Any], told: str, read: list[str]) -> Play:
        options = said.get("options", {})
        if said.get("truncate") is False and len(read) > options.get("num_ctx", MODELFILE_CTX):
            return refusal(400, TOO_LONG)
        if "gone" in told.split():
            return refusal(500, NO_MEMORY)
        lines = list(spoken(said, told, len(read)))
        if said.get("stream", True):
            broken = "break" in told.split()
            sent = [*lines[:1], {"error": BROKEN}] if broken else lines
            return stream([orjson.dumps(one) + b"\n" for one in sent], content_type=JSON_LINES)
        return json(merged(lines))

    def _keep(self, said: dict[str, Any]) -> None:
        self.loaded[self._name(said["model"])] = said.get("keep_alive", "5m")

    @staticmethod
    def _name(name: str) -> str:
        return name if ":" in name else f"{name}:latest"


def spoken(said: dict[str, Any], told: str, read: int) -> Iterator[dict[str, Any]]:
    """The lines of an answer, the last one with the counts."""
    options, words, count = said.get("options", {}), told.split(), 0
    chat, reason = "messages" in said, "stop"
    if words[:1] == ["call"]:
        for city in ("Paris", "Rome"):
            call = {"function": {"name": words[1], "arguments": {"city": city}}}
            yield line(said, {"message": message("", tool_calls=[call])})
            count += 1
    else:
        if said.get("think") and "think" in words:
            yield line(said, {"message": message("", thinking="Hmm.")} if chat
                       else {"response": "", "thinking": "Hmm."})  # fmt: skip
        text = '{"ok": true}' if said.get("format") else told
        for word in text.split(" "):
            if word in options.get("stop", ()):
                break
            if count >= options.get("num_predict", 1000):
                reason = "length"
                break
            piece = word if not count else f" {word}"
            more = {"logprobs": [probable(piece, said.get("top_logprobs"))]}
            yield line(said, {"message": message(piece)} if chat else {"response": piece},
                       **(more if said.get("logprobs") else {}))  # fmt: skip
            count += 1
    last = {"message": message("")} if chat else {"response": ""}
    yield line(said, last, done_reason=reason, prompt_eval_count=read, eval_count=count)


def probable(token: str, others: int | None) -> dict[str, Any]:
    entry = {"token": token, "logprob": -0.5, "bytes": list(token.encode())}
    if not others:
        return entry
    return {**entry, "top_logprobs": [entry, *[{"token": "x", "logprob": -2.0}] * (others - 1)]}


def message(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def line(said: dict[str, Any], body: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One object of an answer; `done_reason` makes it the last."""
    made = {"model": said["model"], "created_at": WHEN, **body, "done": "done_reason" in more}
    if "eval_count" in more:
        made |= {"total_duration": 4883583458, "load_duration": 1334875,
                 "prompt_eval_duration": 342546000, "eval_duration": 4535599000}  # fmt: skip
    known = fields.CHAT_RESPONSE if "message" in body else fields.GENERATE_RESPONSE
    return checked({**made, **more}, known)


def merged(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The same answer as one object."""
    whole = dict(lines[-1])
    logprobs = [one for said in lines for one in said.get("logprobs", [])]
    if logprobs:
        whole["logprobs"] = logprobs
    if "message" not in whole:
        whole["response"] = "".join(said["response"] for said in lines)
        thinking = "".join(said.get("thinking", "") for said in lines)
        return whole | ({"thinking": thinking} if thinking else {})
    messages = [said["message"] for said in lines]
    whole["message"] = message("".join(one["content"] for one in messages))
    thinking = "".join(one.get("thinking", "") for one in messages)
    calls = [call for one in messages for call in one.get("tool_calls", [])]
    whole["message"] |= {"thinking": thinking} if thinking else {}
    whole["message"] |= {"tool_calls": calls} if calls else {}
    return whole


def refusal(status: int, text: str) -> Play:
    return json(checked({"error": text}, fields.ERROR_RESPONSE), status)


def checked(answer: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    problem = fields.wrong(answer, known)
    assert problem is None, f"the stand-in's own answer: {problem}"
    return answer
