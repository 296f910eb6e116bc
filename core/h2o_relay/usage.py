"""What an answer has used, where its server does not say: estimated from the text, and marked so.

The shape is that of `usage` in OpenAI's API reference; `estimated` beside its fields is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from .as_text import choice_index
from .chunks import Chunk, Completion
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
    """Watches one stream for its usage; without one it has counted what was said."""

    def __init__(self, kind: str, params: Mapping[str, Any]) -> None:
        self._kind, self._params = kind, params
        self._pieces = 0  # checked chunks: one event with a piece of content each
        self._said: dict[int, list[str]] = {}
        self._event: Mapping[str, Any] = {}
        self.told = False

    def note(self, chunk: Chunk) -> None:
        if chunk.checked:
            self._pieces += 1
            return
        for event in chunk.events():
            self.told = self.told or bool(event.get("usage"))
            for choice in event.get("choices") or ():
                self._event = event
                words = self._said.setdefault(choice_index(choice), [])
                words.append(spoken(choice.get("delta") or choice))

    def missing(self) -> Chunk | None:
        """The event that a stream without usage lacks at its end, once."""
        if self.told:
            return None
        self.told = True
        texts = ["".join(words) for words in self._said.values()]
        said = sum(map(likely, texts)) + self._pieces
        usage = estimated(prompt_tokens(self._params), said)
        id, model = self._event.get("id"), self._event.get("model")
        return Chunk.of(
            None, id=str(id or ""), model=str(model or ""), kind=self._kind, usage=usage
        )
