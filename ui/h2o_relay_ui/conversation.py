"""Messages as they are told to a model, and texts as they are shown to people. All pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

OPENING, CLOSING = "<think>", "</think>"
ROLES = ("user", "assistant")
IMAGE_PREFIX = "data:image/"
MARKUP = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$&:@])")
ESCAPED = r"\\\1"


def escaped(text: str) -> str:
    """The text with nothing in it that Markdown or HTML would obey."""
    return MARKUP.sub(ESCAPED, text)


def text_of(message: Mapping[str, Any]) -> str:
    """A message's text; parts that are not text are left out."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def images_of(message: Mapping[str, Any]) -> list[str]:
    """The `data:` URLs of a message's images."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    urls = [
        (part.get("image_url") or {}).get("url")
        for part in parts
        if isinstance(part, dict) and part.get("type") == "image_url"
    ]
    return [url for url in urls if isinstance(url, str) and url.startswith(IMAGE_PREFIX)]


def content_of(text: str, images: Iterable[str]) -> str | list[dict[str, Any]]:
    """A text, or with images content parts: these first, as most models want them."""
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": url}} for url in images
    ]
    if not parts:
        return text
    return [*parts, {"type": "text", "text": text}] if text else parts


def for_model(history: Iterable[Mapping[str, Any]], system: str) -> list[dict[str, Any]]:
    """OpenAI's `messages`: what user and model said, the system prompt first if there is one.

    Several messages of one role become one: a question without an answer, because that failed or
    was stopped, is followed by the next, and many chat templates refuse that.
    """
    messages: list[dict[str, Any]] = []
    if system.strip():
        messages.append({"role": "system", "content": system})
    for message in history:
        role, content = message.get("role"), content_of(text_of(message), images_of(message))
        if role not in ROLES or not content:
            continue
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] = _joined(messages[-1], {"content": content})
        else:
            messages.append({"role": str(role), "content": content})
    return messages


def _joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | list[dict[str, Any]]:
    texts = [text for text in (text_of(first), text_of(second)) if text]
    return content_of("\n\n".join(texts), [*images_of(first), *images_of(second)])


def parted(text: str) -> tuple[str, str]:
    """What a model thought aloud between tags at the start of its answer, and the answer."""
    start = text.lstrip()
    if not start.startswith(OPENING):
        return "", text
    thoughts, _, answer = start.removeprefix(OPENING).partition(CLOSING)
    return thoughts.strip(), answer.lstrip("\r\n")
