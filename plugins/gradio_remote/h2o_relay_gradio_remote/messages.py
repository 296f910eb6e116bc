"""OpenAI's messages in the shapes of chats that know only texts: pairs, and message lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from h2o_relay.errors import InvalidRequest

SYSTEM = ("system", "developer")


class Turn(NamedTuple):
    """Who says what: `user` or `assistant`."""

    role: str
    text: str


class Talk(NamedTuple):
    """A conversation taken apart."""

    system: str
    """All system messages, in order; "" if there are none."""
    past: list[Turn]
    """Turns before the last, each of another role than the one before it."""
    last: str
    """What the user says now."""


def talk_of(messages: Any) -> Talk:
    """Take a conversation apart. Raises InvalidRequest for what such a chat cannot be told."""
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("'messages' must be a list that is not empty", param="messages")
    system: list[str] = []
    turns: list[Turn] = []
    for index, message in enumerate(messages):
        role, text = _read(message, index)
        if role in SYSTEM:
            system.append(text)
        elif turns and turns[-1].role == role:
            turns[-1] = Turn(role, f"{turns[-1].text}\n\n{text}")
        else:
            turns.append(Turn(role, text))
    if not turns or turns[-1].role != "user":
        raise InvalidRequest(
            "this server answers users: the last message must have the role 'user'",
            param="messages",
        )
    return Talk("\n\n".join(system), turns[:-1], turns[-1].text)


def pairs(past: Sequence[Turn]) -> list[tuple[str, str]]:
    """Turns as (user, assistant); one that opens with the assistant has an empty user side."""
    found: list[tuple[str, str]] = []
    asked = ""
    for turn in past:
        if turn.role == "user":
            asked = turn.text
        else:
            found.append((asked, turn.text))
            asked = ""
    return found


def _read(message: Any, index: int) -> tuple[str, str]:
    place = f"messages[{index}]"
    if not isinstance(message, Mapping):
        raise InvalidRequest("a message must be an object", param=place)
    role = message.get("role")
    if role not in (*SYSTEM, "user", "assistant") or message.get("tool_calls"):
        raise InvalidRequest("this server has no tools, only a conversation", param=place)
    return str(role), _text(message.get("content"), place)


def _text(content: Any, place: str) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = [p.get("text") if isinstance(p, Mapping) and p.get("type") == "text" else None
             for p in parts]  # fmt: skip
    if not all(isinstance(text, str) for text in texts):
        raise InvalidRequest("this server takes texts only", param=f"{place}.content")
    return "".join(text for text in texts if isinstance(text, str))
