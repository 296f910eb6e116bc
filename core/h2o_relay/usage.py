"""What an answer has used, where its server does not say: estimated from the text, and marked so.

The shape is that of `usage` in OpenAI's API reference; `estimated` beside its fields is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from .as_text import choice_index
from .chunks import END, PREFIX, Chunk, Completion
from .prompts.fit import likely
from .trimming import text_of

SPOKEN = ("content", "text", "reasoning_content", "reasoning", "refusal")


def asks_usage(params: Mapping[str, Any]) -> bool:
    """Whether a stream is to end with its usage."""
    options = params.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def estimated(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "estimated": True,
    }


def prompt_tokens(params: Mapping[str, Any]) -> int:
    """What a request's prompt may have. Token ids are counted, pictures are not."""
    messages, prompt = params.get("messages"), params.get("prompt")
    if isinstance(messages, list):
        tools = params.get("tools")
        texts = [*map(text_of, messages), orjson.dumps(tools).decode() if tools else ""]
        return likely("\n".join(texts))
    if isinstance(prompt, list):
        ids = sum(1 for item in prompt if isinstance(item, int))
        return ids + sum(prompt_tokens({"prompt": p}) for p in prompt if isinstance(p, str | list))
    return likely(prompt) if isinstance(prompt, str) else 0


def spoken(piece: Mapping[str, Any]) -> str:
    """What a message, a delta or a choice of a text completion says: its words, its calls."""
    words = [piece[name] for name in SPOKEN if isinstance(piece.get(name), str)]
    calls = piece.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            words += [v for v in (function.get("name"), function.get("arguments")) if v]
    return "".join(word for word in words if isinstance(word, str))


def with_usage(completion: Completion, params: Mapping[str, Any]) -> Completion:
    """A whole answer that tells no usage, with an estimate of it."""
    choices = completion.data.get("choices") or ()
    said = [spoken(choice.get("message") or choice) for choice in choices]
    usage = estimated(prompt_tokens(params), sum(map(likely, said)))
    data = {**completion.data, "usage": usage}
    body = completion.body.rstrip()
    if "usage" in completion.data or not body.endswith(b"}"):
        return Completion(orjson.dumps(data), data)
    return Completion(body[:-1] + b',"usage":%b}' % orjson.dumps(usage), data)  # the rest stays


class UsageWatch:
    """Watches one stream for its usage; without one it has counted what was said.

    `hide` is for usage that the relay alone has asked for: the caller does not see it.
    """

    __slots__ = ("_event", "_hide", "_kind", "_params", "_said", "_unchecked", "told")

    def __init__(self, kind: str, params: Mapping[str, Any], hide: bool = False) -> None:
        self._kind, self._params, self._hide = kind, params, hide
        self._unchecked = 0
        self._said: dict[int, list[str]] = {}
        self._event: Mapping[str, Any] = {}
        self.told: Mapping[str, Any] | None = None
        """What the server said."""

    def shown(self, chunk: Chunk) -> Chunk | None:
        """What the caller is to see of a chunk that was not `checked`: those have one event with a
        piece of content each.
        """
        self._unchecked += 1
        hidden = False
        for event in chunk.events():
            if event.get("usage"):
                self.told = event["usage"]
                hidden = hidden or self._hide
            for choice in event.get("choices") or ():
                self._event = event
                words = self._said.setdefault(choice_index(choice), [])
                words.append(spoken(choice.get("delta") or choice))
        return self._without(chunk) if hidden else chunk

    def _without(self, chunk: Chunk) -> Chunk | None:
        """A chunk without the usage; its other events keep their bytes."""
        kept, events = [], []
        for payload, event in zip(chunk.payloads(), chunk.events(), strict=True):
            if not event.get("usage"):
                kept.append(PREFIX + payload + END)
                events.append(event)
            elif event.get("choices"):
                rest = {name: value for name, value in event.items() if name != "usage"}
                kept.append(PREFIX + orjson.dumps(rest) + END)
                events.append(rest)
        return Chunk(b"".join(kept), events) if kept else None

    def usage(self, pieces: int) -> Mapping[str, Any]:
        """What was told, else an estimate; `pieces` are all chunks so far."""
        if self.told is not None:
            return self.told
        texts = ["".join(words) for words in self._said.values()]
        said = sum(map(likely, texts)) + max(0, pieces - self._unchecked)
        return estimated(prompt_tokens(self._params), said)

    def missing(self, pieces: int) -> Chunk | None:
        """The event that a stream without usage lacks at its end, once."""
        if self.told is not None or self._hide:
            return None
        usage = self.told = self.usage(pieces)
        id, model = self._event.get("id"), self._event.get("model")
        return Chunk.of(
            None, id=str(id or ""), model=str(model or ""), kind=self._kind, usage=usage
        )


def asking(params: Mapping[str, Any], body: bytes | None) -> tuple[dict[str, Any], bytes | None]:
    """A stream's request that asks for its usage as well. The caller's bytes stay as they are."""
    asked = {**params, "stream_options": {"include_usage": True}}
    told = body.rstrip() if body is not None else b""
    if not told.endswith(b"}") or "stream_options" in params:
        return asked, None
    return asked, told[:-1] + b',"stream_options":{"include_usage":true}}'
