"""`Chunk` and `Completion`: an answer as the bytes that the upstream sent, parsed when asked.

The shapes are those of OpenAI's API reference: `chat.completion.chunk` and `text_completion` for
chunks, `chat.completion` and `text_completion` for whole answers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

PREFIX = b"data: "
END = b"\n\n"


class Chunk:
    """One or more whole server-sent events, normalised to `data: <payload>` and a blank line."""

    __slots__ = ("_events", "checked", "raw")

    def __init__(self, raw: bytes, events: list[Any] | None = None, checked: bool = False) -> None:
        """`checked` spares the kernel its look: one event with a piece of content, no more."""
        self.raw = raw
        self.checked = checked
        self._events = events

    def __repr__(self) -> str:
        return f"Chunk({self.raw!r})"

    def payloads(self) -> list[bytes]:
        """The events' payloads, byte for byte."""
        return [event[len(PREFIX) :] for event in self.raw.split(END) if event]

    def events(self) -> list[Any]:
        """The payloads decoded; raises orjson.JSONDecodeError if one is not JSON."""
        if self._events is None:
            self._events = [orjson.loads(payload) for payload in self.payloads()]
        return self._events

    @property
    def text(self) -> str:
        """What the first choice's answer grows by; '' for role, tool and usage events."""
        return "".join(_delta(choice) for choice in self._choices() if not choice.get("index"))

    @property
    def reasoning(self) -> str:
        """What the first choice's reasoning grows by (`reasoning_content` or `reasoning`)."""
        deltas = [c.get("delta") or {} for c in self._choices() if not c.get("index")]
        texts = [d.get("reasoning_content") or d.get("reasoning") for d in deltas]
        return "".join(text for text in texts if isinstance(text, str))

    @property
    def finish_reason(self) -> str | None:
        """The first choice's finish reason, once it is there."""
        for choice in self._choices():
            if not choice.get("index") and choice.get("finish_reason"):
                return str(choice["finish_reason"])
        return None

    @property
    def usage(self) -> dict[str, Any] | None:
        for event in reversed(self.events()):
            usage = event.get("usage")
            if usage and isinstance(usage, dict):
                return dict(usage)
        return None

    def _choices(self) -> list[dict[str, Any]]:
        return [choice for event in self.events() for choice in event.get("choices") or ()]

    @classmethod
    def of(
        cls,
        text: str | None,
        *,
        id: str,
        model: str,
        kind: str = "chat",
        index: int = 0,
        finish_reason: str | None = None,
        usage: Mapping[str, int] | None = None,
    ) -> Chunk:
        """An event made from text, for upstreams that do not speak OpenAI's shape.

        `text` None makes no choice at all: the usage event that ends a stream.
        """
        choices: list[dict[str, Any]] = []
        if text is not None or finish_reason is not None:
            body = (
                {"delta": {"content": text} if text else {}}
                if kind == "chat"
                else {"text": text or ""}
            )
            choices = [{"index": index, **body, "finish_reason": finish_reason}]
        event: dict[str, Any] = {
            "id": id,
            "object": "chat.completion.chunk" if kind == "chat" else "text_completion",
            "created": int(time.time()),
            "model": model,
            "choices": choices,
        }
        if usage is not None:
            event["usage"] = dict(usage)
        return cls(PREFIX + orjson.dumps(event) + END, [event])


class Completion:
    """A whole answer: OpenAI-shaped JSON as bytes."""

    __slots__ = ("_data", "body", "deployment", "dropped", "notes", "tries")

    def __init__(self, body: bytes, data: dict[str, Any] | None = None) -> None:
        self.body = body
        self._data = data
        self.deployment: Any = None
        """The `Deployment` that answered; the kernel fills it in."""
        self.dropped: tuple[str, ...] = ()
        """Request fields that the server does not honour; likewise."""
        self.notes: Mapping[str, str] | None = None
        """What the caller is told beside the answer; likewise."""
        self.tries: Any = None
        """Who was asked, why, and how often (`tries.Tries`); likewise."""

    def __repr__(self) -> str:
        return f"Completion({self.body!r})"

    @property
    def data(self) -> dict[str, Any]:
        if self._data is None:
            self._data = orjson.loads(self.body)
        return self._data

    @property
    def text(self) -> str:
        """The first choice's answer; '' where it has none."""
        choices = self.data.get("choices") or [{}]
        message = choices[0].get("message")
        return (message.get("content") if message else choices[0].get("text")) or ""

    @property
    def finish_reason(self) -> str | None:
        choices = self.data.get("choices") or [{}]
        reason = choices[0].get("finish_reason")
        return None if reason is None else str(reason)

    @property
    def usage(self) -> dict[str, Any] | None:
        return self.data.get("usage")

    @classmethod
    def of(
        cls,
        texts: Sequence[str],
        *,
        id: str,
        model: str,
        kind: str = "chat",
        finish_reasons: Sequence[str] = (),
        usage: Mapping[str, int] | None = None,
    ) -> Completion:
        """An answer made from texts, one for each choice; a reason left out is `stop`."""
        reasons = [*finish_reasons, *["stop"] * (len(texts) - len(finish_reasons))]
        choices = [
            {
                "index": index,
                **(
                    {"message": {"role": "assistant", "content": text}}
                    if kind == "chat"
                    else {"text": text}
                ),
                "logprobs": None,
                "finish_reason": reason,
            }
            for index, (text, reason) in enumerate(zip(texts, reasons, strict=True))
        ]
        data: dict[str, Any] = {
            "id": id,
            "object": "chat.completion" if kind == "chat" else "text_completion",
            "created": int(time.time()),
            "model": model,
            "choices": choices,
        }
        if usage is not None:
            data["usage"] = dict(usage)
        return cls(orjson.dumps(data), data)


def _delta(choice: Mapping[str, Any]) -> str:
    delta = choice.get("delta")
    text = delta.get("content") if delta else choice.get("text")
    return text if isinstance(text, str) else ""
