"""A conversation as a file: Markdown to read, JSON with everything, JSONL as OpenAI takes it.

`importing` reads all three.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Any, Literal

import orjson

from h2o_relay.store import Conversation

from .conversation import for_model, images_of, text_of
from .thread import Message

Kind = Literal["md", "json", "jsonl"]
FORMAT = "h2o-relay-conversation"
VERSION = 1
HEAD = "<!-- {} {} {} -->"
"""The format, its version, and the boundary that is in the mark before each message."""
MARK = "<!-- {} {} -->"
"""The boundary, and what the message has besides its text, as JSON."""
KEPT = ("role", "time", "model", "server", "state", "reasoning")
"""What a message's mark keeps, beside what can be read in the text."""
NAME_LENGTH = 60  # characters


def exported(conversation: Conversation, kind: Kind) -> str:
    """The file's text."""
    if kind == "md":
        return markdown(conversation)
    if kind == "json":
        return orjson.dumps(as_json(conversation), option=orjson.OPT_INDENT_2).decode() + "\n"
    return line(conversation)


def as_json(conversation: Conversation) -> dict[str, Any]:
    """Everything that the store has, but for whose it is."""
    return {
        "format": FORMAT, "version": VERSION, "title": conversation.title,
        "kind": conversation.kind, "created": conversation.created,
        "updated": conversation.updated, "settings": conversation.settings,
        "messages": conversation.messages,
    }  # fmt: skip


def line(conversation: Conversation) -> str:
    """One line with OpenAI's `messages`, as for fine-tuning, and the title."""
    told = for_model(conversation.messages, system_of(conversation))
    return orjson.dumps({"title": conversation.title, "messages": told}).decode() + "\n"


def markdown(conversation: Conversation) -> str:
    """Text for people, with marks that they do not see where it is drawn."""
    boundary = secrets.token_hex(6)
    parts = [HEAD.format(FORMAT, VERSION, boundary), f"# {' '.join(conversation.title.split())}"]
    system = system_of(conversation)
    if system:
        parts += [_mark(boundary, {"role": "system"}), f"**System prompt**\n\n{system}"]
    for message in conversation.messages:
        parts += [_mark(boundary, {n: message[n] for n in KEPT if message.get(n)})]
        parts += [f"**{_speaker(message)}**", *map(_image, images_of(message)), text_of(message)]
    return "\n\n".join(parts).rstrip("\n") + "\n"


def system_of(conversation: Conversation) -> str:
    options = conversation.settings.get("options")
    return str(options.get("system") or "") if isinstance(options, dict) else ""


def file_name(conversation: Conversation, kind: Kind) -> str:
    """A name that every file system takes."""
    words = re.sub(r"[^\w\- ]+", "", conversation.title)[:NAME_LENGTH].split()
    day = time.strftime("%Y-%m-%d", time.localtime(conversation.updated))
    return f"{'-'.join(words) or 'chat'}-{day}.{kind}"


def _mark(boundary: str, about: dict[str, Any]) -> str:
    # A comment ends at "-->", and nothing else in it is JSON's business.
    text = orjson.dumps(about).decode().replace("-", "\\u002d")
    return MARK.format(boundary, text)


def _speaker(message: Message) -> str:
    return "You" if message.get("role") == "user" else str(message.get("model") or "Assistant")


def _image(url: str) -> str:
    return f"![image]({url})"
