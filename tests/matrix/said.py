"""An answer's facts, out of any dialect and streamed or whole: what a caller would make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from ..proxy.raw_client import Reply

NEW_EACH_TIME = frozenset({"id", "created", "created_at", "item_id", "completed_at", "call_id"})

OF_THE_ANSWER = frozenset({"status", "output", "usage", "incomplete_details", "metadata"})
"""Fields of a Response that do not merely repeat the request; metadata is there to be repeated."""


@dataclass
class Said:
    """What an answer says."""

    streamed: bool = False
    texts: dict[int, str] = field(default_factory=dict)
    """By the choices' numbers."""
    reasoning: str = ""
    calls: dict[int, tuple[str, str]] = field(default_factory=dict)
    """The first choice's calls of functions: name and arguments."""
    logprobs: list[Any] = field(default_factory=list)
    tops: list[Any] = field(default_factory=list)
    """The alternatives to tokens."""
    usage: Mapping[str, Any] | None = None

    def grow(self, text: str, index: int = 0) -> None:
        self.texts[index] = self.texts.get(index, "") + text

    def call(self, number: int, name: str, arguments: str) -> None:
        before = self.calls.get(number, ("", ""))
        self.calls[number] = (before[0] + name, before[1] + arguments)


def said_of(dialect: str, reply: Reply) -> Said:
    """Raises AssertionError for an answer in no good order."""
    streamed = reply.headers["content-type"].startswith("text/event-stream")
    found = Said(streamed)
    if streamed:
        for event in events_of(reply):
            STREAMED[dialect](found, event)
    else:
        WHOLE[dialect](found, reply.json())
    return found


def events_of(reply: Reply) -> list[Any]:
    """A stream's events, whichever grammar it has."""
    lines = [line for line in reply.body.split(b"\n") if line.startswith(b"data:")]
    payloads = [line.removeprefix(b"data:").strip() for line in lines]
    return [orjson.loads(payload) for payload in payloads if payload != b"[DONE]"]


def comparable(reply: Reply) -> Any:
    """An answer without what is new each time: ids and points in time."""
    if not reply.headers.get("content-type", "").startswith("text/event-stream"):
        return _without(reply.json())
    return [_without(event) for event in events_of(reply)]


def _without(value: Any) -> Any:
    if isinstance(value, list):
        return [_without(item) for item in value]
    if isinstance(value, dict):
        if value.get("object") == "response":  # its other fields repeat the request
            value = {k: v for k, v in value.items() if k in OF_THE_ANSWER}
        return {k: _without(v) for k, v in value.items() if k not in NEW_EACH_TIME}
    return value


def _openai(found: Said, data: Mapping[str, Any]) -> None:
    """A whole answer of chat or text completions, or an event of a stream."""
    found.usage = data.get("usage") or found.usage
    for choice in data.get("choices") or ():
        said = choice.get("message") or choice.get("delta") or choice
        index = choice.get("index") or 0
        found.grow(said.get("content") or said.get("text") or "", index)
        if index:
            continue
        found.reasoning += said.get("reasoning_content") or said.get("reasoning") or ""
        for number, call in enumerate(said.get("tool_calls") or ()):
            function = call.get("function") or {}
            found.call(
                call.get("index", number), function.get("name") or "",
                function.get("arguments") or "",
            )  # fmt: skip
        _logprobs(found, choice.get("logprobs") or {})


def _logprobs(found: Said, logprobs: Mapping[str, Any]) -> None:
    for token in logprobs.get("content") or ():
        found.logprobs.append(token["logprob"])
        found.tops += token.get("top_logprobs") or ()
    found.logprobs += logprobs.get("token_logprobs") or ()
    found.tops += [top for top in logprobs.get("top_logprobs") or () if top]


def _response(found: Said, data: Mapping[str, Any]) -> None:
    """OpenAI's Response object."""
    found.usage = data.get("usage")
    calls = 0
    for item in data.get("output") or ():
        if item["type"] == "function_call":
            found.call(calls, item["name"], item["arguments"])
            calls += 1
        elif item["type"] == "reasoning":
            parts = [*(item.get("summary") or ()), *(item.get("content") or ())]
            found.reasoning += "".join(part.get("text") or "" for part in parts)
        elif item["type"] == "message":
            for part in item["content"]:
                found.grow(part.get("text") or "")
                _logprobs(found, {"content": part.get("logprobs")})


def _response_event(found: Said, event: Mapping[str, Any]) -> None:
    """The last event has the whole answer; the text must have come before it, too."""
    kind = event["type"]
    if kind == "response.output_text.delta":
        found.grow(event["delta"])
    elif kind in ("response.completed", "response.incomplete"):
        whole = Said()
        _response(whole, event["response"])
        assert whole.texts.get(0, "") == found.texts.get(0, ""), event
        for name in ("reasoning", "calls", "logprobs", "tops", "usage"):
            setattr(found, name, getattr(whole, name))


def _message(found: Said, data: Mapping[str, Any]) -> None:
    """Anthropic's Message object."""
    found.usage = data.get("usage")
    for number, block in enumerate(data["content"]):
        if block["type"] == "text":
            found.grow(block["text"])
        elif block["type"] == "thinking":
            found.reasoning += block["thinking"]
        elif block["type"] == "tool_use":
            found.call(number, block["name"], orjson.dumps(block["input"]).decode())


def _message_event(found: Said, event: Mapping[str, Any]) -> None:
    kind = event["type"]
    if kind == "content_block_start" and event["content_block"]["type"] == "tool_use":
        found.call(event["index"], event["content_block"]["name"], "")
    elif kind == "content_block_delta":
        delta = event["delta"]
        found.grow(delta.get("text") or "")
        found.reasoning += delta.get("thinking") or ""
        if delta["type"] == "input_json_delta":
            found.call(event["index"], "", delta["partial_json"])
    elif kind == "message_delta":
        found.usage = event.get("usage") or found.usage


Reader = Callable[[Said, Any], None]
WHOLE: Mapping[str, Reader] = {
    "chat": _openai, "text": _openai, "responses": _response, "messages": _message,
}  # fmt: skip
STREAMED: Mapping[str, Reader] = {
    "chat": _openai, "text": _openai, "responses": _response_event, "messages": _message_event,
}  # fmt: skip
