"""The messages of a conversation, as they are stored and handed between the parts of the page.

A message is a JSON object:

- `id` (hex), `role` ("user" or "assistant"), `time` (Unix time)
- `content`: a text, or content parts as in OpenAI's API reference (`text`, and `image_url` with a
  `data:` URL)
- of the assistant's only: `model`, `server` (the server string, masked), `reasoning`,
  `state` ("running", "done", "stopped" or "failed"), `error` (None, or `message`, `code` and
  `status`), `notes` (what was done to the request, in phrases), `finish_reason`, and `figures`
  (`first_token` and `seconds`, `tokens`, `prompt_tokens`, and whether `tokens` is `estimated`)
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .conversation import text_of

Message = dict[str, Any]
STATES = ("running", "done", "stopped", "failed")
TITLE_LENGTH = 60  # characters


def question(content: str | list[dict[str, Any]]) -> Message:
    """What a user says now."""
    return {"id": new_id(), "role": "user", "content": content, "time": time.time()}


def answer(model: str, server: str = "") -> Message:
    """An answer that begins now."""
    return {
        "id": new_id(), "role": "assistant", "content": "", "time": time.time(), "model": model,
        "server": server, "reasoning": "", "state": "running", "error": None, "notes": [],
        "finish_reason": None, "figures": figures(),
    }  # fmt: skip


def figures(
    first_token: float | None = None, seconds: float = 0.0, tokens: int | None = None,
    prompt_tokens: int | None = None, *, estimated: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """An answer's figures; times are seconds since it was asked for."""
    return {
        "first_token": first_token, "seconds": seconds, "tokens": tokens,
        "estimated": estimated, "prompt_tokens": prompt_tokens,
    }  # fmt: skip


def new_id() -> str:
    return secrets.token_hex(8)


def place_of(messages: Sequence[Mapping[str, Any]], id: str) -> int | None:
    """Where the message of this id is."""
    return next((at for at, message in enumerate(messages) if message.get("id") == id), None)


def put(messages: Iterable[Message], message: Message) -> list[Message]:
    """The messages with this one in the place of its older self, if that is among them."""
    return [message if other.get("id") == message["id"] else other for other in messages]


def settled(messages: Iterable[Message], running: Mapping[str, Message]) -> list[Message]:
    """The messages with those that grow as they are now (`running`, by id). What was stored as
    running and no longer is was cut off by a restart: it is shown as stopped.
    """
    return [
        running.get(message.get("id", ""))
        or ({**message, "state": "stopped"} if message.get("state") == "running" else message)
        for message in messages
    ]


def last_question(messages: Sequence[Mapping[str, Any]]) -> int | None:
    """Where the user's last message is; None if there is none."""
    places = [at for at, message in enumerate(messages) if message.get("role") == "user"]
    return places[-1] if places else None


def title_of(messages: Iterable[Mapping[str, Any]]) -> str:
    """The first words of the first question; "" if there is none."""
    texts = (text_of(message) for message in messages if message.get("role") == "user")
    words = " ".join(next(texts, "").split())
    if len(words) <= TITLE_LENGTH:
        return words
    return words[:TITLE_LENGTH].rsplit(" ", 1)[0] + "…"
