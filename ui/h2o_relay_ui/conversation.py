"""A conversation as the page shows it, and as the API is asked.

A message is a dict as Gradio's Chatbot takes it: `role`, `content` (a list of text parts) and
`metadata`. A message with metadata is about the conversation rather than in it (what a model
thought, why an answer failed), and is never sent to a model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Message = dict[str, Any]
OPENING, CLOSING = "<think>", "</think>"
ROLES = ("user", "assistant")
MARKUP = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$&])")
ESCAPED = r"\\\1"


def said(role: str, text: str, **metadata: str) -> Message:
    return {"role": role, "content": [{"type": "text", "text": text}], "metadata": metadata}


def thought(title: str, text: str, *, pending: bool) -> Message:
    """Text that can be folded away; open while it is pending."""
    return said("assistant", text, title=title, status="pending" if pending else "done")


def remark(title: str, text: str) -> Message:
    """What the relay itself has to say; `text` is plain and is shown as it is."""
    return said("assistant", f"**{title}** {MARKUP.sub(ESCAPED, text)}", id="remark")


def footnote(phrases: Iterable[str]) -> Message:
    """A quiet line about the answer above it, out of phrases that begin in lower case."""
    text = " ".join(f"{phrase[:1].upper()}{phrase[1:]}." for phrase in phrases)
    return said("assistant", f"<small>{MARKUP.sub(ESCAPED, text)}</small>", id="footnote")


def is_about(message: Mapping[str, Any]) -> bool:
    metadata = message.get("metadata") or {}
    return bool(metadata.get("title") or metadata.get("id"))


def text_of(message: Mapping[str, Any]) -> str:
    """A message's text; parts that are not text are left out."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def for_model(history: Iterable[Mapping[str, Any]], system: str) -> list[dict[str, str]]:
    """OpenAI's `messages`: what user and model said, the system prompt first if there is one.

    Several messages of one role become one: a question without an answer, because that failed or
    was stopped, is followed by the next, and many chat templates refuse that.
    """
    messages = [{"role": "system", "content": system}] if system.strip() else []
    for message in history:
        role, text = message.get("role"), text_of(message)
        if role not in ROLES or is_about(message) or not text:
            continue
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += f"\n\n{text}"
        else:
            messages.append({"role": str(role), "content": text})
    return messages


def parted(text: str) -> tuple[str, str]:
    """What a model thought aloud between tags at the start of its answer, and the answer."""
    start = text.lstrip()
    if not start.startswith(OPENING):
        return "", text
    thoughts, _, answer = start.removeprefix(OPENING).partition(CLOSING)
    return thoughts.strip(), answer.lstrip("\r\n")


def last_question(history: Sequence[Mapping[str, Any]]) -> int | None:
    """Where the user's last message is; None if there is none."""
    places = [at for at, message in enumerate(history) if message.get("role") == "user"]
    return places[-1] if places else None


def is_open(history: Sequence[Mapping[str, Any]]) -> bool:
    """The last word is the user's, and awaits an answer."""
    return bool(history) and history[-1].get("role") == "user"


def retried(history: Sequence[Message]) -> list[Message]:
    """The history without all that followed the last question."""
    place = last_question(history)
    return list(history) if place is None else list(history[: place + 1])


def undone(history: Sequence[Message]) -> tuple[list[Message], str]:
    """The history without the last question and what followed, and that question's text."""
    place = last_question(history)
    if place is None:
        return list(history), ""
    return list(history[:place]), text_of(history[place])


def closed(history: Iterable[Message]) -> list[Message]:
    """The history after its last answer ended, stopped or not: nothing is pending in it."""
    return [
        {**message, "metadata": {**message["metadata"], "status": "done"}}
        if (message.get("metadata") or {}).get("status") == "pending"
        else message
        for message in history
    ]
