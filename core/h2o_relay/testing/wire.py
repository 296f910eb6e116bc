"""What a scripted upstream says in the protocol of the plugin under test.

`OpenAIWire` is for plugins with `target`. A plugin for another protocol comes with a `Wire` of its
own; the suite takes its answers as they are, cuts them short, breaks them off and slows them down.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from .scripts import LAST, Play, chunk, event, json, play, sse
from .upstream import Received

ID = "cmpl-1"
CREATED = 1750000000


class Wire(ABC):
    """One protocol, as its server speaks it."""

    @abstractmethod
    def is_listing(self, request: Received) -> bool:
        """Whether the request asks for the server's models."""

    @abstractmethod
    def listing(self, names: Sequence[str]) -> Play:
        """The answer that lists models of these names."""

    @abstractmethod
    def reply(self, request: Received, texts: Sequence[str], finish: str | None = "stop") -> Play:
        """The answer made of these texts: in pieces if the request wants it so, else whole.

        Pieces must be made by `scripts.stream`, or else be steps as that makes them, in chunked
        framing. `finish` None leaves out whatever says that the answer is complete.
        """

    @abstractmethod
    def refusal(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> Play:
        """The answer that says no, by status."""

    @abstractmethod
    def failing(self, request: Received, texts: Sequence[str], message: str) -> Play:
        """A reply in pieces that reports an error after these texts, then ends in good order."""


class OpenAIWire(Wire):
    """OpenAI's API: /models, /chat/completions and /completions."""

    def is_listing(self, request: Received) -> bool:
        return request.method == "GET" and request.path.partition("?")[0].endswith("/models")

    def listing(self, names: Sequence[str]) -> Play:
        entries = [
            {"id": name, "object": "model", "created": CREATED, "owned_by": "test"}
            for name in names
        ]
        return json({"object": "list", "data": entries})

    def reply(self, request: Received, texts: Sequence[str], finish: str | None = "stop") -> Play:
        params = request.json()
        if params.get("stream"):
            return sse(self.payloads(request, texts, finish))
        return json(self.completion(request, texts, finish))

    def refusal(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> Play:
        return json({"error": self.error(message)}, status, headers)

    def failing(self, request: Received, texts: Sequence[str], message: str) -> Play:
        payloads = self.payloads(request, texts, None)
        failure = event(orjson.dumps({"error": self.error(message)}))
        return sse(payloads).upto(len(payloads)) + play(chunk(failure), LAST)

    def error(self, message: str) -> dict[str, Any]:
        return {"message": message, "type": "test_error", "param": None, "code": "test"}

    def payloads(
        self, request: Received, texts: Sequence[str], finish: str | None = "stop"
    ) -> list[bytes]:
        """The events: a role (chat), the texts, the finish reason, and usage if asked for."""
        params = request.json()
        chat = "messages" in params
        parts = [{"delta": {"content": text}} if chat else {"text": text} for text in texts]
        events = [self._event(params, {"index": 0, **p, "finish_reason": None}) for p in parts]
        if chat:
            role = {"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}
            events.insert(0, self._event(params, role))
        if finish is not None:
            last: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
            events.append(self._event(params, {"index": 0, **last, "finish_reason": finish}))
        if (params.get("stream_options") or {}).get("include_usage"):
            events.append({**self._event(params), "usage": self.usage(texts)})
        return [orjson.dumps(item) for item in events]

    def completion(
        self, request: Received, texts: Sequence[str], finish: str | None = "stop"
    ) -> dict[str, Any]:
        """The same answer as one object."""
        params = request.json()
        chat = "messages" in params
        text = "".join(texts)
        body = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        return {
            "id": ID,
            "object": "chat.completion" if chat else "text_completion",
            "created": CREATED,
            "model": params.get("model"),
            "choices": [{"index": 0, **body, "logprobs": None, "finish_reason": finish}],
            "usage": self.usage(texts),
        }

    def usage(self, texts: Sequence[str]) -> dict[str, int]:
        count = len(texts)
        return {"prompt_tokens": 3, "completion_tokens": count, "total_tokens": 3 + count}

    def _event(self, params: Mapping[str, Any], *choices: Mapping[str, Any]) -> dict[str, Any]:
        chat = "messages" in params
        return {
            "id": ID,
            "object": "chat.completion.chunk" if chat else "text_completion",
            "created": CREATED,
            "model": params.get("model"),
            "choices": list(choices),
        }
