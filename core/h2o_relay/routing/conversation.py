"""Which conversation a request belongs to, as a number, so that its turns go to one server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .hashing import digest

PREFIX = 4096
"""Characters of each text that are looked at: what two conversations share beyond is rare."""
PARTS = 8  # of a message that has parts
OPENING = ("system", "developer")


def conversation_key(params: Mapping[str, Any], session: str | None = None) -> int | None:
    """64 bits that stay the same from turn to turn and from process to process: those of
    `session`, if the caller names it, else of how the conversation begins. That is for chats the
    system message and the first message of a user, for texts the beginning of the prompt.

    None where there is nothing to go by. Never raises, whatever `params` holds.
    """
    model = params.get("model")
    if session:
        return digest(b"session\0" + _bytes(session[:PREFIX]))
    messages = params.get("messages")
    beginning = _chat(messages) if isinstance(messages, list) else _text(params.get("prompt"))
    if not beginning:
        return None
    return digest(_bytes(f"{model}\0{beginning}"))


def _chat(messages: list[Any]) -> str:
    """Up to and with the first message that is not the system's."""
    found = []
    for message in messages[:PARTS]:
        if not isinstance(message, dict):
            break
        role = message.get("role")
        found.append(f"{role}\0{_text(message.get('content'))}")
        if role not in OPENING:
            break
    return "\0".join(found)


def _text(content: Any) -> str:
    """The beginning of a text, of a message's parts, or of a prompt in tokens."""
    if isinstance(content, str):
        return content[:PREFIX]
    if not isinstance(content, list):
        return ""
    if content and isinstance(content[0], int):
        return repr(content[:PREFIX])
    return "\0".join(_part(part) for part in content[:PARTS])


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part[:PREFIX]
    if not isinstance(part, dict):
        return ""
    image = part.get("image_url")
    if isinstance(image, dict):
        image = image.get("url")
    for text in (part.get("text"), image):
        if isinstance(text, str):
            return text[:PREFIX]
    return str(part.get("type"))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
