"""How values become columns: JSON, text that every database takes, and text to search in."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from ..errors import StoreError

SEARCHED = 200_000  # characters of a conversation that a search looks at
QUERY = 200  # characters of a search that count


def encode(value: Any) -> str:
    """JSON. Raises StoreError for what has no JSON."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        pass  # lone surrogates, integers above 64 bits, deep nesting: the slower module takes them
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"this cannot be stored: {error}") from None


def decode(text: str) -> Any:
    """What `encode` was given. Raises StoreError."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise StoreError("the store holds damaged data") from None


def clean(text: str) -> str:
    """Without NUL and lone surrogates, which not every database takes; they become U+FFFD."""
    replaced = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return replaced.replace("\0", "\ufffd")


def fold(text: str) -> str:
    """The same for texts that differ in case or in how their letters are composed (NFKC)."""
    folded = unicodedata.normalize("NFKC", clean(text)).casefold()
    return unicodedata.normalize("NFKC", folded)


def words(search: str) -> list[str]:
    """The words of a search, folded."""
    return fold(search[:QUERY]).split()


def searchable(messages: Iterable[Mapping[str, Any]]) -> str:
    """The folded text of messages: their contents, or the text parts of these."""
    texts: list[str] = []
    left = SEARCHED
    for message in messages:
        for text in _texts(message.get("content")):
            texts.append(text[:left])
            left -= len(text)
            if left <= 0:
                return fold("\n".join(texts))
    return fold("\n".join(texts))


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        return []
    parts = [part.get("text") for part in content if isinstance(part, dict)]
    return [text for text in parts if isinstance(text, str)]
