"""A whole answer from the events of a stream.

Used where a server goes on generating after the connection of an unstreamed request is closed: it
is asked for a stream, which it does stop, and the caller gets one object all the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Any

import orjson

from .chunks import Chunk, Completion

GROWING = frozenset(
    {"content", "text", "reasoning_content", "reasoning", "refusal", "arguments", "thinking"}
)
WHOLE_OBJECT = {"chat": "chat.completion", "text": "text_completion"}


async def assemble(chunks: AsyncIterable[Chunk], kind: str) -> Completion:
    """Merge all events: texts grow, lists grow, what else repeats keeps its last value, unless
    that says nothing (null, an empty text).
    """
    data: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    async for chunk in chunks:
        for event in chunk.events():
            for name, value in event.items():
                if name != "choices" and (value is not None or name not in data):
                    data[name] = value
            for choice in event.get("choices") or ():
                index = choice.get("index") or 0
                _merge(choices.setdefault(index, {"index": index}), _message(choice))
    data["object"] = WHOLE_OBJECT[kind]
    data["choices"] = [_finished(choices[index]) for index in sorted(choices)]
    return Completion(orjson.dumps(data), data)


def _message(choice: dict[str, Any]) -> dict[str, Any]:
    if "delta" not in choice:
        return choice
    return {("message" if k == "delta" else k): v for k, v in choice.items()}


def _finished(choice: dict[str, Any]) -> dict[str, Any]:
    """A chat choice in OpenAI's whole form: role and content are always there."""
    message = choice.get("message")
    if message is None:
        return choice
    message = {"role": "assistant", "content": None, **message}
    calls = message.get("tool_calls")
    if calls and isinstance(calls, list):
        message["tool_calls"] = [_without_index(call) for call in calls]
    elif message["content"] is None:
        message["content"] = ""
    return {**choice, "message": message}


def _without_index(call: Any) -> Any:
    return {k: v for k, v in call.items() if k != "index"} if isinstance(call, dict) else call


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for name, value in new.items():
        old = into.get(name)
        if isinstance(value, dict):
            target = into[name] = old if isinstance(old, dict) else {}
            _merge(target, value)
        elif isinstance(value, list):
            into[name] = _merge_list(old if isinstance(old, list) else [], value)
        elif isinstance(value, str) and isinstance(old, str) and name in GROWING:
            into[name] = old + value
        elif value not in (None, "") or name not in into:
            into[name] = value


def _merge_list(old: list[Any], new: list[Any]) -> list[Any]:
    """Items with an `index` (tool calls) are merged by it, others are appended."""
    merged = list(old)
    for item in new:
        if not (isinstance(item, dict) and isinstance(item.get("index"), int)):
            merged.append(item)
            continue
        index = item["index"]
        same = next((o for o in merged if isinstance(o, dict) and o.get("index") == index), None)
        if same is None:
            same = {}
            merged.append(same)
        _merge(same, item)
    return merged
