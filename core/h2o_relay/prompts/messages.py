"""OpenAI messages as the text dialogue that a prompt type can write down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ..errors import InvalidRequest

Message = Mapping[str, Any]
SYSTEM_ROLES: Final = frozenset({"system", "developer"})
USER_ROLES: Final = frozenset({"user", "tool", "function"})
"""What prompt types have no turn of its own for is told as the user's words, as h2oGPT does."""
JOINT: Final = "\n\n"
"""Between messages of one side that follow each other."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What was said and what was answered."""

    user: str
    answer: str


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A conversation that waits for an answer."""

    system: str | None
    """The text of all system messages; None where there is none."""
    history: tuple[Turn, ...]
    instruction: str
    """What is to be answered; empty where the last word was the assistant's."""
    begun: str | None = None
    """The beginning of the answer, to be continued."""


def dialogue(messages: Sequence[Message], *, continue_final: bool = False) -> Dialogue:
    """Messages in pairs. Raises InvalidRequest for roles and contents that are no text.

    System messages are joined wherever they stand, and so are messages of one side that follow
    each other. A call of a tool is told as JSON, its result as the user's words. With
    `continue_final` an assistant's message at the end is the answer's beginning; without it that
    message is history and an empty instruction follows.
    """
    if not messages:
        raise InvalidRequest("There must be at least one message.", param="messages")
    system: list[str] = []
    spoken: list[tuple[bool, str]] = []
    for number, message in enumerate(messages):
        role = role_of(message, number)
        text = text_of(message.get("content"), f"messages[{number}].content")
        if role in SYSTEM_ROLES:
            system.append(text)
        elif role in USER_ROLES:
            _say(spoken, True, text)
        else:
            calls = _calls(message, f"messages[{number}]")
            _say(spoken, False, "\n".join(filter(None, [text, *calls])))
    turns = _pairs(spoken)
    instruction, begun = "", None
    if spoken and spoken[-1][0]:
        instruction = turns.pop().user
    elif spoken and continue_final:
        last = turns.pop()
        instruction, begun = last.user, last.answer
    return Dialogue(JOINT.join(system) if system else None, tuple(turns), instruction, begun)


def role_of(message: Message, number: int) -> str:
    """The role of a message, which is the one of that number. Raises InvalidRequest."""
    role = message.get("role")
    if role == "assistant" or role in SYSTEM_ROLES or role in USER_ROLES:
        return str(role)
    raise InvalidRequest(
        "A message's role must be system, developer, user, assistant or tool.",
        param=f"messages[{number}].role",
    )


def text_of(content: Any, path: str) -> str:
    """The text of a message's content: a string, null or a list of text parts.

    Raises InvalidRequest for anything else: `path` names it.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise InvalidRequest(f"'{path}' must be a string or an array of parts.", param=path)
    texts: list[str] = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        text = part.get(kind) if kind in ("text", "refusal") else None
        if not isinstance(text, str):
            raise InvalidRequest(
                "The model behind this name is served by a text-only server: it takes no other "
                "parts of a message than text.",
                param=f"{path}[{number}]",
            )
        texts.append(text)
    return "\n".join(texts)


def _say(spoken: list[tuple[bool, str]], user: bool, text: str) -> None:
    if spoken and spoken[-1][0] == user:
        text = JOINT.join(filter(None, [spoken.pop()[1], text]))
    spoken.append((user, text))


def _pairs(spoken: Sequence[tuple[bool, str]]) -> list[Turn]:
    turns: list[Turn] = []
    for user, text in spoken:
        if user:
            turns.append(Turn(text, ""))
        elif turns:
            turns[-1] = Turn(turns[-1].user, text)
        else:
            turns.append(Turn("", text))
    return turns


def _calls(message: Message, path: str) -> list[str]:
    """The calls of tools in an assistant's message, each a JSON object on one line.

    Raises InvalidRequest for what is no call: `path` names the message.
    """
    given = message.get("tool_calls") or ()
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise _no_call(f"{path}.tool_calls", "an array")
    calls = []
    for number, call in enumerate(given):
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            raise _no_call(f"{path}.tool_calls[{number}]", "a function's call")
        calls.append(function)
    old = message.get("function_call")
    if old is not None:
        if not isinstance(old, Mapping):
            raise _no_call(f"{path}.function_call", "an object")
        calls.append(old)
    return [
        orjson.dumps({"name": call.get("name"), "arguments": call.get("arguments")}).decode()
        for call in calls
    ]


def _no_call(path: str, wanted: str) -> InvalidRequest:
    return InvalidRequest(f"'{path}' must be {wanted}.", param=path, code="invalid_type")
