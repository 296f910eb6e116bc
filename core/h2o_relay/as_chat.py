"""A text completion over a server that only chats: the prompt becomes one user message, and the
answer gets the shape of a completion.

Fields and shapes are those of OpenAI's API reference (`/completions` and `/chat/completions`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson

from .as_text import choice_index, readable_events
from .chunks import END, PREFIX, Chunk, Completion
from .errors import InvalidRequest
from .types import Request

TOKENS = 16
"""The limit of a completion that names none, by the API reference; a chat has none."""
TEXT_ONLY = ("echo", "suffix", "best_of")
"""Fields that mean nothing to a chat."""
NAMES = {"messages": "prompt", "top_logprobs": "logprobs"}
"""What the caller calls fields that were made of others."""


def converted(request: Request) -> None:
    """Make a request for a text one for a chat, and say so. Raises InvalidRequest for prompts that
    are several, or token ids.
    """
    params = dict(request.params)
    prompt = params.pop("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        what = "one prompt at a time" if isinstance(prompt[0], str) else "text, not token ids"
        raise InvalidRequest(
            f"This model's server only chats: it takes {what}.", param="prompt"
        )  # fmt: skip
    for name in TEXT_ONLY:
        if params.pop(name, None):
            request.drop(name)
    asked = params.pop("logprobs", None)
    if asked is not None and asked is not False:
        params |= {"logprobs": True, "top_logprobs": int(asked)}
    if params.get("max_tokens") is None:
        params["max_tokens"] = TOKENS
    params["messages"] = [{"role": "user", "content": prompt}]
    request.kind, request.params, request.body = "chat", params, None
    request.tell("translated", "completions-to-chat")


def completion(answer: Completion) -> Completion:
    """A chat's whole answer as a text completion."""
    data = {**answer.data, "object": "text_completion"}
    data["choices"] = [_choice(choice, choice.get("message")) for choice in data["choices"]]
    return Completion(orjson.dumps(data), data)


async def stream(chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
    """A chat's stream as a text completion's."""
    ends: dict[int, int] = {}  # characters that each choice has logprobs for
    async with aclosing(chunks):
        async for chunk in chunks:
            readable, error = readable_events(chunk)
            events = [_event(event, ends) for event in readable]
            events = [event for event in events if event is not None]
            if events:
                yield Chunk(b"".join(PREFIX + orjson.dumps(e) + END for e in events), events)
            if error is not None:
                raise error


def _event(event: Any, ends: dict[int, int]) -> Any:
    """An event, or None for one that has nothing but the role."""
    if not isinstance(event, dict) or not isinstance(event.get("choices"), list):
        return event
    kept = [c for c in event["choices"] if not isinstance(c, dict) or _says(c)]
    if event["choices"] and not kept:
        return None
    choices = [_choice(c, c.get("delta"), ends) if isinstance(c, dict) else c for c in kept]
    return {**event, "object": "text_completion", "choices": choices}


def _says(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta")
    said = isinstance(delta, dict) and any(v for k, v in delta.items() if k != "role")
    return said or bool(choice.get("finish_reason")) or not isinstance(delta, dict | None)


def _choice(
    choice: dict[str, Any], message: Any, ends: dict[int, int] | None = None
) -> dict[str, Any]:
    """A choice of a chat as one of a text completion. What has no place there (reasoning, calls
    that nobody asked for) keeps its name.
    """
    index = choice_index(choice)
    logprobs = text_logprobs(choice.get("logprobs"), (ends or {}).get(index, 0))
    if logprobs is not None and ends is not None and logprobs["tokens"]:
        ends[index] = logprobs["text_offset"][-1] + len(logprobs["tokens"][-1])
    rest = {k: v for k, v in choice.items() if k not in ("message", "delta", "logprobs")}
    message = message if isinstance(message, dict) else {}
    text = message.get("content")
    more = {k: v for k, v in message.items() if k not in ("role", "content") and v}
    return {
        **rest, **more, "text": text if isinstance(text, str) else "",
        "logprobs": logprobs,
        "finish_reason": choice.get("finish_reason"),
    }  # fmt: skip


def text_logprobs(given: Any, start: int = 0) -> dict[str, Any] | None:
    """A chat's `logprobs` (one object for each token) as a completion's (lists side by side), of a
    text that begins `start` characters into the answer.
    """
    content = given.get("content") if isinstance(given, dict) else None
    if not isinstance(content, list):
        return None
    tokens = [str(entry.get("token", "")) for entry in content]
    offsets, end = [], start
    for token in tokens:
        offsets.append(end)
        end += len(token)
    return {
        "tokens": tokens,
        "token_logprobs": [entry.get("logprob") for entry in content],
        "top_logprobs": [
            {str(top.get("token")): top.get("logprob") for top in entry.get("top_logprobs") or ()}
            for entry in content
        ],
        "text_offset": offsets,
    }
