"""OpenAI's messages as Ollama's: text, images, reasoning, calls of tools and their results.

Both shapes by their references: OpenAI's "Create chat completion", Ollama's `ChatMessage` and
`ToolCall` (docs/openapi.yaml) with `tool_name` and `tool_call_id` (api/types.go).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from h2o_relay.errors import InvalidRequest

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
WORDS = ("text", "refusal")
"""Kinds of content parts whose text stands in a field of the same name."""


def translate(messages: Any) -> list[dict[str, Any]]:
    """Raises InvalidRequest for what Ollama has no place for."""
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise InvalidRequest("'messages' must be a list of at least one message", param="messages")
    called: dict[str, str] = {}
    return [_message(message, f"messages[{n}]", called) for n, message in enumerate(messages)]


def has_images(messages: Any) -> bool:
    """Whether any message brings a picture."""
    parts = [
        part
        for message in messages or ()
        if isinstance(message, Mapping) and isinstance(message.get("content"), list)
        for part in message["content"]
    ]
    return any(isinstance(part, Mapping) and part.get("type") == "image_url" for part in parts)


def _message(message: Any, path: str, called: dict[str, str]) -> dict[str, Any]:
    """One message; `called` collects the tools' names by the ids of their calls."""
    if not isinstance(message, Mapping):
        raise InvalidRequest(f"'{path}' must be an object", param=path)
    role = ROLES.get(message.get("role") or "")
    if role is None:
        raise InvalidRequest(
            f"'{path}.role' must be one of {', '.join(ROLES)}", param=f"{path}.role"
        )
    content, images = _content(message.get("content"), f"{path}.content")
    made: dict[str, Any] = {"role": role, "content": content}
    if images:
        made["images"] = images
    if role == "assistant":
        thinking = message.get("reasoning_content") or message.get("reasoning")
        if isinstance(thinking, str) and thinking:
            made["thinking"] = thinking
        calls = [
            _call(call, f"{path}.tool_calls[{n}]", n, called)
            for n, call in enumerate(message.get("tool_calls") or ())
        ]
        if calls:
            made["tool_calls"] = calls
    if role == "tool":
        made |= _answered(message, called)
    return made


def _content(content: Any, path: str) -> tuple[str, list[str]]:
    """The text, and the images in base64."""
    if content is None or isinstance(content, str):
        return content or "", []
    if not isinstance(content, list):
        raise InvalidRequest(f"'{path}' must be a string or a list of parts", param=path)
    texts, images = [], []
    for n, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in WORDS and isinstance(part.get(kind), str):
            texts.append(part[kind])
        elif kind == "image_url":
            images.append(_image(part.get("image_url"), f"{path}[{n}].image_url"))
        else:
            raise InvalidRequest(
                f"'{path}[{n}]' is neither text nor an image, which is all that Ollama takes",
                param=f"{path}[{n}]",
            )
    return "\n".join(texts), images


def _image(given: Any, path: str) -> str:
    """The base64 of a `data:` URL (RFC 2397)."""
    url = given.get("url") if isinstance(given, Mapping) else given
    if not isinstance(url, str):
        raise InvalidRequest(f"'{path}.url' must be a string", param=f"{path}.url")
    head, comma, data = url.partition(",")
    if head[:5].lower() == "data:" and comma and head.lower().endswith(";base64"):
        return data
    reason = "is not fetched: Ollama takes images" if "://" in head else "cannot be read: give it"
    raise InvalidRequest(
        f"'{path}.url' {reason} as data:image/png;base64,... only", param=f"{path}.url"
    )


def _call(call: Any, path: str, index: int, called: dict[str, str]) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name, str):
        raise InvalidRequest(f"'{path}' must call a function by its name", param=path)
    made = {"index": index, "name": name, "arguments": _arguments(function, path)}
    if not isinstance(call.get("id"), str):
        return {"function": made}
    called[call["id"]] = name
    return {"id": call["id"], "function": made}


def _arguments(function: Mapping[str, Any], path: str) -> dict[str, Any]:
    """An object, which OpenAI's clients send as JSON text."""
    given = function.get("arguments")
    if isinstance(given, str):
        try:
            given = orjson.loads(given) if given.strip() else {}
        except orjson.JSONDecodeError:
            given = None
    if not isinstance(given, dict):
        where = f"{path}.function.arguments"
        raise InvalidRequest(f"'{where}' must be a JSON object", param=where)
    return given


def _answered(message: Mapping[str, Any], called: Mapping[str, str]) -> dict[str, str]:
    """Which call a tool's message answers: Ollama goes by the tool's name, and newer ones by id."""
    made, given = {}, message.get("tool_call_id")
    name = message.get("name") or called.get(given if isinstance(given, str) else "")
    if isinstance(name, str):
        made["tool_name"] = name
    if isinstance(given, str):
        made["tool_call_id"] = given
    return made
