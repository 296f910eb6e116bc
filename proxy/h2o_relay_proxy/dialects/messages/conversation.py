"""`system` and `messages` as a chat's messages.

Anthropic's turns alternate: messages of one side that follow each other are one turn, and a tool's
result is a block of the user's. A chat has a message of its own for each result.
"""

from __future__ import annotations

from typing import Any

import orjson

from h2o_relay.errors import InvalidRequest

from ...checking import empty, missing, too_long, wrong_type
from ...fields import MAX_MESSAGES
from .blocks import PARTS, PLACE, Located, Part, blocks, joined, parts_of, text_of, texts
from .report import Report, a_text, a_type, an_array, an_object, needed

Message = dict[str, Any]
ROLES = ("user", "assistant", "system")
FOREIGN = frozenset(
    {
        "server_tool_use", "web_search_tool_result", "web_fetch_tool_result",
        "code_execution_tool_result", "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result", "tool_search_tool_result", "mcp_tool_use",
        "mcp_tool_result", "advisor_tool_result", "container_upload", "redacted_thinking",
        "compaction",
    }
)  # fmt: skip
"""Blocks that only Anthropic's own servers can read: sealed, or about what was run there."""
SPOKEN = frozenset({"text", "thinking", "tool_use"}) | FOREIGN
ASKED = PARTS | {"tool_result"} | FOREIGN
FAILED = "Error: "
"""A chat has no other way to say that a tool has failed."""


def messages_of(params: dict[str, Any], report: Report) -> list[Message]:
    """The messages of a chat request. Raises InvalidRequest."""
    found: list[Message] = []
    if params.get("system") is not None:
        text = "\n".join(texts("system", params["system"], report, "system"))
        found += [{"role": "system", "content": text}] if text else []
    for role, turn in _turns(params.get("messages"), report):
        if role == "user":
            found += _user(turn, report)
        elif role == "assistant":
            found.append(_assistant(turn, report))
        else:
            said = [_system_text(path, block, report) for path, block in turn]
            found.append({"role": "system", "content": "\n".join(said)})
    return found


def prefills(messages: list[Message]) -> bool:
    """Whether the answer is to go on where the last message ends."""
    last = messages[-1]
    return last["role"] == "assistant" and bool(last["content"]) and "tool_calls" not in last


def _turns(given: Any, report: Report) -> list[tuple[str, list[Located]]]:
    """Blocks by who says them."""
    if given is None:
        raise missing("messages")
    if not an_array("messages", given):
        raise empty("messages", "empty_array")
    if len(given) > MAX_MESSAGES:
        raise too_long("messages", MAX_MESSAGES)
    turns: list[tuple[str, list[Located]]] = []
    for number, message in enumerate(given):
        path = f"messages[{number}]"
        an_object(path, message)
        role = a_text(path, message, "role")
        if role not in ROLES:
            raise InvalidRequest(
                f"'{path}.role' must be one of {', '.join(ROLES)}.", param=f"{path}.role"
            )
        report.rest("messages", message, ("role", "content"))
        said = blocks(f"{path}.content", needed(path, message, "content"))
        if not said and role == "user":
            raise empty(f"{path}.content", "empty_array")
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(said)
        else:
            turns.append((role, said))
    return turns


def _user(turn: list[Located], report: Report) -> list[Message]:
    """Results first: they must follow their calls at once. What of them is no text cannot stand in
    a tool's message, so that the user shows it.
    """
    results: list[Message] = []
    parts: list[Part] = []
    for path, block in turn:
        kind = a_type(path, block, ASKED)
        if kind == "tool_result":
            result, shown = _result(path, block, report)
            results.append(result)
            parts += shown
        elif kind in FOREIGN:
            report.drop(f"{PLACE}.{kind}")
        else:
            parts += parts_of(path, block, report)
    if parts or not results:
        results.append({"role": "user", "content": joined(parts)})
    return results


def _result(path: str, block: dict[str, Any], report: Report) -> tuple[Message, list[Part]]:
    report.rest(PLACE, block, ("type", "tool_use_id", "content", "is_error"))
    call = a_text(path, block, "tool_use_id", empty=False)
    failed = block.get("is_error")
    if type(failed) not in (bool, type(None)):
        raise wrong_type(f"{path}.is_error", "true or false")
    parts: list[Part] = []
    for where, inner in blocks(f"{path}.content", _or_empty(block.get("content"))):
        parts += parts_of(where, inner, report)
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    shown = [part for part in parts if part["type"] != "text"]
    if shown:
        text = text or "The user shows the result."
        shown = [{"type": "text", "text": f"The result of the tool call {call}:"}, *shown]
    if failed and not text.lower().startswith("error"):
        text = FAILED + text
    return {"role": "tool", "tool_call_id": call, "content": text}, shown


def _or_empty(content: Any) -> Any:
    return [] if content is None else content


def _assistant(turn: list[Located], report: Report) -> Message:
    """What was said, thought and called. Text blocks are pieces of one text, such as citations
    make of it.
    """
    said: list[str] = []
    thought: list[str] = []
    calls: list[dict[str, Any]] = []
    for path, block in turn:
        kind = a_type(path, block, SPOKEN)
        if kind == "text":
            said.append(text_of(path, block, report))
        elif kind == "thinking":
            report.rest(PLACE, block, ("type", "thinking"))
            thought.append(a_text(path, block, "thinking"))
        elif kind == "tool_use":
            calls.append(_call(path, block, report))
        else:
            report.drop(f"{PLACE}.{kind}")
    text = "".join(said)
    message: Message = {"role": "assistant", "content": text if text or not calls else None}
    if any(thought):
        message["reasoning_content"] = "\n".join(thought)
    if calls:
        message["tool_calls"] = calls
    return message


def _call(path: str, block: dict[str, Any], report: Report) -> dict[str, Any]:
    report.rest(PLACE, block, ("type", "id", "name", "input", "caller"))
    if block.get("caller") not in (None, {"type": "direct"}):
        report.drop(f"{PLACE}.caller")
    given = an_object(f"{path}.input", needed(path, block, "input"))
    function = {
        "name": a_text(path, block, "name", empty=False),
        "arguments": orjson.dumps(given).decode(),
    }
    return {
        "id": a_text(path, block, "id", empty=False), "type": "function", "function": function,
    }  # fmt: skip


def _system_text(path: str, block: dict[str, Any], report: Report) -> str:
    a_type(path, block, {"text"})
    return text_of(path, block, report)
