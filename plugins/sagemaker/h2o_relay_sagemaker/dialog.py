"""OpenAI's messages as the dialog that JumpStart's Llama 2 chat models take.

Their rule ("Run Llama 2 Models in SageMaker JumpStart"): roles system, user and assistant only, a
system message at most at the beginning, then user and assistant in turn, user first and last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from h2o_relay.errors import InvalidRequest

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
BETWEEN = "\n\n"  # joins messages that follow each other with one role


def dialog(messages: Any) -> list[dict[str, str]]:
    """The dialog; neighbours of one role become one message. Raises InvalidRequest."""
    if not isinstance(messages, Sequence) or not messages:
        raise InvalidRequest("'messages' must not be empty", param="messages")
    turns: list[dict[str, str]] = []
    for number, message in enumerate(messages):
        where = f"messages.{number}"
        role = ROLES.get(message.get("role"))
        if role is None:
            raise InvalidRequest(
                "the llama2 payload has system, user and assistant messages only",
                param=f"{where}.role",
            )
        if role == "system" and any(turn["role"] != "system" for turn in turns):
            raise InvalidRequest(
                "the llama2 payload has its system message at the beginning", param=f"{where}.role"
            )
        text = _text(message.get("content"), f"{where}.content")
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += BETWEEN + text
        else:
            turns.append({"role": role, "content": text})
    spoken = [turn for turn in turns if turn["role"] != "system"]
    if not spoken or spoken[0]["role"] != "user" or spoken[-1]["role"] != "user":
        raise InvalidRequest(
            "the llama2 payload begins and ends with a user message", param="messages"
        )
    return turns


def _text(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(_is_text(part) for part in content):
        return "".join(part["text"] for part in content)
    raise InvalidRequest("the llama2 payload has texts only", param=where)


def _is_text(part: Any) -> bool:
    return (
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
    )
