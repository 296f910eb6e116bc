"""Ollama's answers in OpenAI's shape: events of a stream, or one whole object.

Read are `ChatResponse`, `ChatStreamEvent`, `GenerateResponse` and `GenerateStreamEvent` of Ollama's
docs/openapi.yaml; made are `chat.completion`, `chat.completion.chunk` and `text_completion` of
OpenAI's API reference, with `reasoning_content` as vLLM and llama.cpp name it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from uuid import uuid4

import orjson

from h2o_relay.chunks import END, PREFIX, Chunk, Completion
from h2o_relay.errors import UpstreamIncomplete
from h2o_relay.types import Request, Server
from h2o_relay.wording import Wording

from .failures import nonsense, reported
from .logprobs import chat_logprobs, text_logprobs

Event = dict[str, Any]
TOOLS = "tool_calls"
REASONS = {"": "stop", "load": "stop", "unload": "stop"}
"""What Ollama says of an end that OpenAI has another word for; `done` alone is a `stop`, too."""


class Translator:
    """One answer to one request. `begun` is true after its first line, `finished` once Ollama has
    said that it is done.
    """

    def __init__(self, server: Server, request: Request) -> None:
        options = request.params.get("stream_options")
        self.finished = False
        self._server = server
        self._chat = request.kind == "chat"
        self._model = request.deployment.model
        self._id = f"{'chatcmpl' if self._chat else 'cmpl'}-{uuid4().hex}"
        self._created = int(time.time())
        self._asked_usage = isinstance(options, Mapping) and bool(options.get("include_usage"))
        self.begun = False
        self._calls = 0
        self._written = 0  # characters of text, for the offsets of its tokens

    def events(self, said: Mapping[str, Any]) -> list[Event]:
        """The events for one line of a stream. Raises what the line reports, UpstreamError."""
        delta = self._delta(said)
        if self._chat and not self.begun:
            delta = {"role": "assistant", **delta}
        self.begun = True
        logprobs = self._logprobs(said)
        events = []
        if delta or logprobs:
            events.append(self._event(self._choice(delta, logprobs, None)))
        if said.get("done"):
            self.finished = True
            events.append(self._event(self._choice({}, None, self._reason(said))))
            if self._asked_usage:
                events.append({**self._event(), "usage": usage(said)})
        return events

    @cached_property
    def wordings(self) -> dict[str, Wording]:
        """The event for a line that is not the first and brings nothing but text: its `content`,
        or its `thinking`.
        """
        content = "content" if self._chat else "text"
        return {"content": self._wording(content), "thinking": self._wording("reasoning_content")}

    def _wording(self, name: str) -> Wording:
        return Wording(lambda text: self._event(self._choice({name: text}, None, None)))

    def whole(self, said: Mapping[str, Any]) -> Completion:
        """The answer to a request that is not streamed. Raises what it reports, UpstreamError."""
        delta = self._delta(said)
        if not said.get("done"):
            raise UpstreamIncomplete("the Ollama server did not finish its answer")
        if self._chat:
            content = delta.pop("content", None if "tool_calls" in delta else "")
            calls = [{k: v for k, v in c.items() if k != "index"} for c in delta.pop(TOOLS, ())]
            message = {"role": "assistant", "content": content, **delta}
            body: dict[str, Any] = {"message": {**message, TOOLS: calls} if calls else message}
        else:
            body = {"text": "", **delta}
        choice = {
            "index": 0,
            **body,
            "logprobs": self._logprobs(said),
            "finish_reason": self._reason(said),
        }
        data = {
            **self._head("chat.completion"),
            "choices": [choice],
            "usage": usage(said),
        }
        return Completion(orjson.dumps(data), data)

    def _delta(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """What the answer grows by, by OpenAI's names."""
        if said.get("error"):
            raise reported(said, self._server)
        message = said.get("message")
        if not isinstance(message, Mapping):
            message = {"content": said.get("response"), "thinking": said.get("thinking")}
            if "response" not in said and said.get("done") is not True:
                raise nonsense("sent something that is no answer")
        text, thinking, calls = (message.get(name) for name in ("content", "thinking", TOOLS))
        if not _text_or_none(text) or not _text_or_none(thinking):
            raise nonsense("sent an answer whose text is none")
        delta: dict[str, Any] = {"reasoning_content": thinking} if thinking else {}
        if text:
            delta["content" if self._chat else "text"] = text
        if calls:
            delta[TOOLS] = self._tool_calls(calls)
        if message.get("images"):
            delta["images"] = message["images"]
        return delta

    def _tool_calls(self, calls: Any) -> list[dict[str, Any]]:
        """Calls numbered through the whole answer, whatever index each line gives them."""
        made = []
        for call in calls if isinstance(calls, list) else [calls]:
            function = call.get("function") if isinstance(call, Mapping) else None
            if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
                raise nonsense("called a tool without a name")
            given = function.get("arguments")
            text = given if isinstance(given, str) else orjson.dumps(given or {}).decode()
            made.append(
                {
                    "index": self._calls,
                    "id": call.get("id") or f"call_{uuid4().hex[:24]}",
                    "type": "function",
                    "function": {"name": function["name"], "arguments": text},
                }
            )
            self._calls += 1
        return made

    def _logprobs(self, said: Mapping[str, Any]) -> dict[str, Any] | None:
        entries = said.get("logprobs")
        if not entries:
            return None
        if self._chat:
            return chat_logprobs(entries)
        made = text_logprobs(entries, self._written)
        self._written += sum(map(len, made["tokens"]))
        return made

    def _reason(self, said: Mapping[str, Any]) -> str:
        given = said.get("done_reason")
        reason = REASONS.get(given, given) if isinstance(given, str) else "stop"
        return "tool_calls" if self._calls and reason == "stop" else reason

    def _choice(
        self, delta: dict[str, Any], logprobs: dict[str, Any] | None, reason: str | None
    ) -> dict[str, Any]:
        body = {"delta": delta} if self._chat else {"text": "", **delta}
        return {"index": 0, **body, "logprobs": logprobs, "finish_reason": reason}

    def _event(self, *choices: dict[str, Any]) -> Event:
        """OpenAI's rule: where usage is asked for, every event has it, null until the last."""
        null = {"usage": None} if self._asked_usage else {}
        return {**self._head("chat.completion.chunk"), "choices": list(choices), **null}

    def _head(self, chat_object: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": chat_object if self._chat else "text_completion",
            "created": self._created,
            "model": self._model,
        }


def chunk_of(events: list[Event]) -> Chunk:
    """The events as one chunk."""
    raw = b"".join(PREFIX + orjson.dumps(event) + END for event in events)
    return Chunk(raw, list(events))


def usage(said: Mapping[str, Any]) -> dict[str, int]:
    """Tokens of prompt and answer. Ollama leaves a count of zero out."""
    prompt, answer = (_count(said.get(n)) for n in ("prompt_eval_count", "eval_count"))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
    }


def _count(value: Any) -> int:
    return value if type(value) is int else 0


def _text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)
