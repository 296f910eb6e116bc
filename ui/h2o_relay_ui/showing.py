"""A conversation's messages as Gradio's Chatbot takes them, normalised: nothing is to be done to
them on their way to the browser.

One message becomes several there: what a model thought (folded), what it said, what went wrong,
and a quiet line of figures. Shapes are those of `gradio.components.chatbot` (6.31).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .conversation import escaped, images_of, text_of
from .hints import hint
from .latex import with_formulas
from .thread import Message

Row = dict[str, Any]
THINKING, THOUGHT = "Thinking", "Reasoning"
WAITING = "Waiting for {}"
FAILED = "⚠ No answer."
BROKEN = "⚠ The answer broke off."
ENDINGS = {
    "length": ("⚠ Cut off.", "The answer has as many tokens as it may have."),
    "content_filter": ("⚠ Cut off.", "The server's content filter ended the answer."),
}
NOTHING = ("⚠ No answer.", "The model ended its answer without a word.")
RETRY = "Retry"
SHORTEST = 0.05  # seconds; a rate over less time says nothing


def shown(messages: Iterable[Message]) -> list[Row]:
    """The Chatbot's messages."""
    return [row for message in messages for row in rows(message)]


def places(messages: Sequence[Message]) -> list[int]:
    """For each of the Chatbot's messages the place of the one that it shows."""
    return [at for at, message in enumerate(messages) for _ in rows(message)]


def rows(message: Message) -> list[Row]:
    """What one message looks like."""
    if message.get("role") != "assistant":
        return [_asked(message)]
    content, reasoning = text_of(message), str(message.get("reasoning") or "")
    running = message.get("state") == "running"
    found: list[Row] = []
    if reasoning:
        pending = running and not content
        title, status = (THINKING, "pending") if pending else (THOUGHT, "done")
        found.append(_said(with_formulas(reasoning), title=title, status=status))
    if content:
        found.append(_said(with_formulas(content)))
    if running:
        waited = escaped(WAITING.format(message.get("model") or "the model"))
        return found or [_said(f"<small><em>{waited} …</em></small>")]
    found += _remarks(message, bool(found))
    found.append(_small(" · ".join(figures(message)), notes(message)))
    if message.get("state") == "failed":
        found[-1]["options"] = [{"label": RETRY, "value": RETRY}]
    return found


def figures(message: Mapping[str, Any]) -> list[str]:
    """An answer's model, server and figures, in words."""
    told = message.get("figures") or {}
    words = ["stopped"] if message.get("state") == "stopped" else []
    words += [str(message[name]) for name in ("model", "server") if message.get(name)]
    first, tokens = told.get("first_token"), told.get("tokens")
    if first is not None:
        words.append(f"{seconds(first)} to first token")
    if tokens:
        about = "about " if told.get("estimated") else ""
        rate = tokens_per_second(told)
        if rate:
            words.append(f"{about}{rate:.{0 if rate >= 10 else 1}f} tokens/s")
        words.append(f"{about}{tokens:,} {'token' if tokens == 1 else 'tokens'}")
    return words


def tokens_per_second(told: Mapping[str, Any]) -> float | None:
    """How fast the answer came once it began; None where that cannot be told."""
    tokens, first, whole = told.get("tokens"), told.get("first_token"), told.get("seconds") or 0.0
    if not tokens or first is None:
        return None
    took = whole - first
    if took >= SHORTEST and tokens > 1:
        return float((tokens - 1) / took)
    return float(tokens / whole) if whole >= SHORTEST else None


def seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s" if value >= 0.1 else "under 0.1 s"


def notes(message: Mapping[str, Any]) -> str:
    """What was done to the request, in sentences."""
    phrases = [str(phrase) for phrase in message.get("notes") or ()]
    return " ".join(f"{phrase[:1].upper()}{phrase[1:]}." for phrase in phrases if phrase)


def _asked(message: Message) -> Row:
    parts: list[Row] = [_image(url) for url in images_of(message)]
    text = text_of(message)
    return _row("user", [*parts, {"type": "text", "text": text}] if text or not parts else parts)


def _remarks(message: Message, said: bool) -> list[Row]:
    """What went wrong."""
    error = message.get("error")
    if error:
        title = BROKEN if said else FAILED
        lines = [f"**{title}** {escaped(str(error.get('message') or ''))}"]
        lines.append(escaped(hint(error.get("code"), error.get("status"))))
        return [_said("\n\n".join(filter(None, lines)))]
    ending = ENDINGS.get(message.get("finish_reason") or "")
    if ending is None and message.get("state") == "done" and not text_of(message):
        ending = NOTHING
    return [_said(f"**{ending[0]}** {escaped(ending[1])}")] if ending else []


def _small(*lines: str) -> Row:
    """Quiet lines about an answer."""
    return _said(f"<small>{'<br>'.join(escaped(line) for line in lines if line)}</small>")


def _said(text: str, **metadata: str) -> Row:
    return _row("assistant", [{"type": "text", "text": text}], **metadata)


def _row(role: str, content: list[Row], **metadata: str) -> Row:
    return {"role": role, "content": content, "metadata": metadata, "options": []}


def _image(url: str) -> Row:
    return {
        "type": "component", "component": "image", "value": {"url": url},
        "constructor_args": {}, "props": {},
    }  # fmt: skip
