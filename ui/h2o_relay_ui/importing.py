"""Conversations out of a file: our own exports, OpenAI's JSONL, and ChatGPT's export.

A file is data from anywhere: what is taken over is read field by field, and bounded. Read are

- our JSON, or a list of such (`exporting.as_json`), and our Markdown
- JSON or JSONL objects with `messages`, as OpenAI's fine-tuning takes them
- the `conversations.json` of a ChatGPT export: a list of conversations, each a tree (`mapping`) of
  which the branch that ends in `current_node` is read
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from h2o_relay.errors import InvalidRequest

from . import thread
from .conversation import content_of, images_of, text_of
from .exporting import FORMAT
from .options import FIELDS
from .thread import Message

LARGEST = 15 * 2**20  # bytes of a file
MOST = 500  # conversations in a file
LONGEST = 5000  # messages of a conversation
TITLE_LENGTH = 200  # characters
UNREADABLE = "This file is no conversation. JSON, JSONL and Markdown exports can be read."
HEAD = re.compile(rf"<!-- {FORMAT} \d+ ([0-9a-f]{{8,}}) -->")
IMAGE = re.compile(r"^!\[image\]\((data:image/[^)\s]+)\)\s*", re.MULTILINE)
SYSTEM_ROLES = ("system", "developer")


@dataclass(slots=True)
class Imported:
    """A conversation that was read; it has no id and no owner yet."""

    title: str = ""
    messages: list[Message] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    left_out: int = 0
    """Messages that this page has no place for, such as the calls of tools."""


def read(data: bytes) -> list[Imported]:
    """The conversations of a file. Raises InvalidRequest with a line for its reader."""
    if len(data) > LARGEST:
        raise InvalidRequest(f"The file has more than {LARGEST // 2**20} MB.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest(UNREADABLE) from None
    head = HEAD.match(text)
    entries = [_from_markdown(text, head[1])] if head else [_read(e) for e in _entries(text)]
    if len(entries) > MOST:
        raise InvalidRequest(f"The file has {len(entries)} conversations; {MOST} are taken.")
    found = [entry for entry in entries if entry.messages]
    if not found:
        raise InvalidRequest("The file has no conversation with messages in it.")
    return found


def _entries(text: str) -> list[Mapping[str, Any]]:
    """The file's JSON objects: one, a list of them, or one a line."""
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError:
        data = list(_lines(text))
    entries = data if isinstance(data, list) else [data]
    for entry in entries:
        if not isinstance(entry, dict) or not ("messages" in entry or "mapping" in entry):
            raise InvalidRequest(UNREADABLE)
    return entries


def _lines(text: str) -> Iterator[Any]:
    lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    for number, line in lines:
        try:
            yield orjson.loads(line)
        except orjson.JSONDecodeError:
            if number == lines[0][0]:
                raise InvalidRequest(UNREADABLE) from None
            raise InvalidRequest(f"Line {number} of the file is not JSON.") from None


def _read(entry: Mapping[str, Any]) -> Imported:
    told = _branch(entry) if "mapping" in entry else entry["messages"]
    if not isinstance(told, list) or len(told) > LONGEST:
        raise InvalidRequest(f"A conversation is a list of up to {LONGEST:,} messages.")
    found = Imported(settings=_settings(entry.get("settings")))
    for message in told:
        _add(found, message)
    found.title = _line(entry.get("title")) or thread.title_of(found.messages)
    return found


def _add(found: Imported, message: Any) -> None:
    """Take one message over."""
    message = message if isinstance(message, dict) else {}
    role, content = message.get("role"), content_of(text_of(message), images_of(message))
    if role in SYSTEM_ROLES and isinstance(content, str):
        found.settings.setdefault("options", {}).setdefault("system", content)
    elif role == "user" and content:
        found.messages.append({**thread.question(content), "time": _time(message)})
    elif role == "assistant" and (content or message.get("error")):
        found.messages.append(_answer(message))
    else:
        found.left_out += 1


def _answer(message: Mapping[str, Any]) -> Message:
    state, error = message.get("state"), message.get("error")
    told, figures = message.get("figures"), thread.figures()
    if isinstance(told, dict):
        figures |= {n: told[n] for n in figures if isinstance(told.get(n), int | float)}
    return {
        **thread.answer(_line(message.get("model")), _line(message.get("server"))),
        "content": content_of(text_of(message), images_of(message)),
        "time": _time(message),
        "reasoning": _text(message.get("reasoning")),
        "state": state if state in ("stopped", "failed") else "done",
        "error": {"message": _text(error.get("message")), "code": _line(error.get("code")) or None,
                  "status": None} if isinstance(error, dict) else None,
        "notes": [_line(n) for n in message.get("notes") or () if isinstance(n, str)][:9]
        if isinstance(message.get("notes"), list) else [],
        "finish_reason": _line(message.get("finish_reason")) or None,
        "figures": figures,
    }  # fmt: skip


def _settings(given: Any) -> dict[str, Any]:
    given = given if isinstance(given, dict) else {}
    texts = given.get("options") if isinstance(given.get("options"), dict) else {}
    texts = {f.name: _text(texts[f.name]) for f in FIELDS if _text(texts.get(f.name))}
    model = _line(given.get("model"))
    return {**({"options": texts} if texts else {}), **({"model": model} if model else {})}


def _branch(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages of a ChatGPT conversation, from its root to its current node."""
    nodes = entry["mapping"] if isinstance(entry["mapping"], dict) else {}
    found: list[dict[str, Any]] = []
    at, seen = entry.get("current_node"), set()
    while isinstance(at, str) and at not in seen and isinstance(nodes.get(at), dict):
        seen.add(at)
        message = nodes[at].get("message")
        if isinstance(message, dict) and (told := _told(message)):
            found.append(told)
        at = nodes[at].get("parent")
    return found[::-1]


def _told(message: Mapping[str, Any]) -> dict[str, Any] | None:
    author, content = message.get("author"), message.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    texts = [part for part in parts or () if isinstance(part, str)] \
        if isinstance(parts, list) else []  # fmt: skip
    role = author.get("role") if isinstance(author, dict) else None
    if not any(texts) and role in (*SYSTEM_ROLES, None):
        return None  # its exports begin with an empty system message
    meta = message.get("metadata") if isinstance(message.get("metadata"), dict) else {}
    return {"role": role, "content": "\n".join(texts), "time": message.get("create_time"),
            "model": (meta or {}).get("model_slug")}  # fmt: skip


def _from_markdown(text: str, boundary: str) -> Imported:
    mark = re.compile(rf"^<!-- {boundary} (\{{.*\}}) -->$", re.MULTILINE)
    start, *parts = mark.split(text)
    found = Imported()
    for about, body in zip(parts[::2], parts[1::2], strict=True):
        try:
            message = orjson.loads(about)
        except orjson.JSONDecodeError:
            raise InvalidRequest(UNREADABLE) from None
        said = body.strip("\n").partition("\n\n")[2]  # without the speaker's name
        urls = IMAGE.findall(said) if message.get("role") == "user" else []
        said = IMAGE.sub("", said, count=len(urls)) if urls else said
        _add(found, {**message, "content": content_of(said, urls)})
    title = re.search(r"^# (.*)$", start, re.MULTILINE)
    found.title = _line(title[1] if title else "") or thread.title_of(found.messages)
    return found


def _line(value: Any) -> str:
    return " ".join(value.split())[:TITLE_LENGTH] if isinstance(value, str) else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _time(message: Mapping[str, Any]) -> float:
    value = message.get("time")
    return float(value) if isinstance(value, int | float) else 0.0
