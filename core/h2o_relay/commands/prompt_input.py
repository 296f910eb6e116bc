"""The conversation that `h2o prompt render` renders: from a file, from options, or an example."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ..prompts.messages import SYSTEM_ROLES
from ..settings import user_path
from .failures import Mistake

EXAMPLE: tuple[dict[str, Any], ...] = (
    {"role": "user", "content": "Name a prime number."},
    {"role": "assistant", "content": "Seven."},
    {"role": "user", "content": "And an even one?"},
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """OpenAI messages, and what may go with them."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    model: str | None = None
    """The model that a request names."""
    extra_input: str = ""

    @property
    def has_system(self) -> bool:
        return any(message.get("role") in SYSTEM_ROLES for message in self.messages)


def conversation(flags: Mapping[str, Any]) -> Conversation:
    """What the options say. Raises Mistake."""
    path, instruction = flags.get("messages"), flags.get("instruction")
    pairs, extra = flags.get("chat_conversation"), flags.get("iinput") or ""
    utf8(extra, "--iinput")
    if path:
        if instruction is not None or pairs is not None:
            option = "--chat-conversation" if instruction is None else "--instruction"
            raise Mistake(f"--messages and {option} exclude each other")
        return _from_json(_parsed(text_file(path, "--messages"), path), path, extra)
    if instruction is None and pairs is None:
        return Conversation(list(EXAMPLE), extra_input=extra)
    spoken = [] if pairs is None else _from_pairs(pairs)
    utf8(instruction or "", "--instruction")
    spoken.append({"role": "user", "content": instruction or ""})
    return Conversation(spoken, extra_input=extra)


def text_file(path: str, option: str) -> str:
    """The text of a file, or of stdin for `-`. Raises Mistake."""
    try:
        if path == "-":
            return sys.stdin.buffer.read().decode("utf-8-sig")
        return user_path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise Mistake(f"{option}: cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise Mistake(f"{option}: cannot read {path}: {reason}") from None


def utf8(text: str | None, what: str) -> None:
    """Raise Mistake for a text that no server could be sent."""
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise Mistake(f"{what} cannot be written as UTF-8") from None


def _parsed(text: str, path: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Mistake(f"--messages: {path} is not JSON: {error}") from None


def _from_json(data: Any, path: str, extra: str) -> Conversation:
    found = data.get("messages") if isinstance(data, dict) else data
    if not isinstance(found, list):
        raise Mistake(f"--messages: {path} holds no list of messages, nor an object with one")
    for number, message in enumerate(found):
        if not isinstance(message, dict):
            raise Mistake(f"--messages: messages[{number}] of {path} is not an object")
    request = data if isinstance(data, dict) else {}
    tools, model = request.get("tools"), request.get("model")
    if tools is not None and not (
        isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)
    ):
        raise Mistake(f"--messages: tools of {path} is not a list of objects")
    return Conversation(found, tools or None, model if isinstance(model, str) else None, extra)


def _from_pairs(text: str) -> list[dict[str, Any]]:
    """Messages of h2oGPT's `chat_conversation`, which is JSON or a Python literal."""
    utf8(text, "--chat-conversation")
    spoken: list[dict[str, Any]] = []
    for pair in _list(text):
        match pair:
            case [str(user), str(answer)] | (str(user), str(answer)):
                spoken.append({"role": "user", "content": user})
                spoken.append({"role": "assistant", "content": answer})
            case _:
                raise _no_pairs()
    return spoken


def _list(text: str) -> list[Any]:
    data: Any = None
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            data = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise _no_pairs() from None
    if not isinstance(data, list | tuple):
        raise _no_pairs()
    return list(data)


def _no_pairs() -> Mistake:
    return Mistake(
        "--chat-conversation is no list of pairs of texts",
        """example: --chat-conversation '[["Hello!", "Hi, how can I help?"]]'""",
    )
