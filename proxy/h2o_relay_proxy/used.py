"""What an answer has used, from whatever a server says of it: OpenAI's `usage` of chats and of
Responses, and Anthropic's, whose `input_tokens` are without those of its cache.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

COUNT = re.compile(
    rb'"(prompt_tokens|completion_tokens|input_tokens|output_tokens|cached_tokens'
    rb'|cache_read_input_tokens|cache_creation_input_tokens)"\s*:\s*(\d{1,15})\b'
)
CACHES = ("cache_read_input_tokens", "cache_creation_input_tokens")


class Used(NamedTuple):
    """Tokens; None where nobody says. Those that came from a cache are among the prompt's."""

    prompt: int | None = None
    completion: int | None = None
    cached: int | None = None
    estimated: bool = False


NOTHING = Used()


def of_usage(usage: Mapping[str, Any] | None) -> Used:
    """From a `usage` of chat or text completions, or whatever a server has in its place."""
    if not usage or not (type(usage) is dict or isinstance(usage, Mapping)):
        return NOTHING
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if type(prompt) is not int or prompt < 0:
        prompt = None
    if type(completion) is not int or completion < 0:
        completion = None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    if type(cached) is not int or cached < 0:
        cached = None
    return Used(prompt, completion, cached, usage.get("estimated") is True)


def of_bytes(head: bytes, tail: bytes) -> Used:
    """From the beginning and the end of an answer that was passed on: the last counts in it.
    Anthropic's streams tell the prompt's in their first event.
    """
    found = {name.decode(): int(value) for name, value in COUNT.findall(head + b" " + tail)}
    if not found:
        return NOTHING
    prompt = found.get("prompt_tokens", found.get("input_tokens"))
    cached = found.get("cached_tokens", found.get("cache_read_input_tokens"))
    if prompt is not None:
        prompt += sum(found.get(name, 0) for name in CACHES)
    return Used(prompt, found.get("completion_tokens", found.get("output_tokens")), cached)
