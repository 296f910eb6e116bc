"""Trimming a conversation that its server renders itself, for callers who ask for it.

`"truncation": "auto"` is the field and value of OpenAI's Responses API; the chat UI and `h2o chat`
send it, since a conversation there goes on for ever. Whoever does not ask is never trimmed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson

from .errors import ContextTooLong
from .prompts.catalog import by_name_or_number
from .prompts.fit import Fitted, fit
from .prompts.messages import Message
from .prompts.render import Rendered

FIELD = "truncation"
Count = Callable[[Sequence[Message]], Awaitable[int | None]]
"""Tokens that the server makes of messages; None where it cannot say."""


async def trimmed(
    messages: Sequence[Message], count: Count, limit: int, reserve: int
) -> Fitted | None:
    """What is left without the oldest turns that do not fit; None where not even the last turn
    does: the server then says so itself.
    """
    latest = list(messages)

    async def as_text(kept: Sequence[Message]) -> Rendered:
        latest[:] = kept
        return Rendered("\n\n".join(map(text_of, kept)), (), by_name_or_number("unknown"))

    async def counted(_: str) -> int | None:
        return await count(latest)

    try:
        return await fit(messages, as_text, counted, limit, reserve)
    except ContextTooLong:
        return None


def text_of(message: Message) -> str:
    """What is counted of a message: its words, its calls of tools, and its role."""
    content: Any = message.get("content") or ""
    if not isinstance(content, str):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "\n".join(part for part in parts if isinstance(part, str))
    calls = message.get("tool_calls")
    return f"{message.get('role')}: {content}{orjson.dumps(calls).decode() if calls else ''}"
