"""Checks of the fields that have an inside: messages, prompts, stop strings, tools, biases."""

from __future__ import annotations

import re
from typing import Any

from h2o_relay.errors import InvalidRequest

from .checking import (
    MAX_INT,
    Check,
    Schema,
    empty,
    missing,
    says,
    schema_of,
    too_long,
    wrong_type,
)

MAX_MESSAGES = 10_000
MAX_TOOLS = 512
MAX_STOPS = 256
MAX_STOP_LENGTH = 4096
MAX_BIASES = 100_000
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
PARTS = frozenset(
    {
        "text", "image_url", "input_audio", "audio_url", "video_url", "file", "refusal",
        "image_embeds", "thinking",
    }
)  # fmt: skip
URLS = frozenset({"image_url", "audio_url", "video_url"})
SCHEMES = ("http://", "https://", "data:")
TOKEN_ID = re.compile(r"-?[0-9]{1,10}")

STOP: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_STOP_LENGTH}


@says({"anyOf": [STOP, {"type": "array", "maxItems": MAX_STOPS, "items": STOP}]})
def stop(name: str, value: Any) -> None:
    stops = [value] if type(value) is str else value
    if type(stops) is not list:
        raise wrong_type(name, "a string or an array of strings")
    if len(stops) > MAX_STOPS:
        raise too_long(name, MAX_STOPS)
    for number, text in enumerate(stops):
        path = name if type(value) is str else f"{name}[{number}]"
        if type(text) is not str:
            raise wrong_type(path, "a string")
        if not text:
            raise empty(path)
        if len(text) > MAX_STOP_LENGTH:
            raise InvalidRequest(
                f"'{path}' may have at most {MAX_STOP_LENGTH} characters.",
                param=path, code="string_too_long",
            )  # fmt: skip


@says(
    {
        "type": "object",
        "maxProperties": MAX_BIASES,
        "propertyNames": {"pattern": f"^{TOKEN_ID.pattern}$"},
        "additionalProperties": {"type": "number"},
    }
)
def bias(name: str, value: Any) -> None:
    if type(value) is not dict:
        raise wrong_type(name, "an object")
    if len(value) > MAX_BIASES:
        raise too_long(name, MAX_BIASES)
    for token, weight in value.items():
        if TOKEN_ID.fullmatch(token) is None:
            raise InvalidRequest(f"'{name}' has a key that is no token id.", param=name)
        if type(weight) not in (int, float):
            raise wrong_type(name, "an object of numbers")


@says({"type": "array", "maxItems": MAX_TOOLS, "items": {"type": "object"}})
def tools(name: str, value: Any) -> None:
    if type(value) is not list:
        raise wrong_type(name, "an array")
    if len(value) > MAX_TOOLS:
        raise too_long(name, MAX_TOOLS)
    for number, tool in enumerate(value):
        if type(tool) is not dict:
            raise wrong_type(f"{name}[{number}]", "an object")


URL: Schema = {
    "type": "string",
    "pattern": "^([hH][tT][tT][pP][sS]?://|[dD][aA][tT][aA]:)",
}


@says(
    {
        "anyOf": [
            URL,
            {"type": "object", "required": ["url"], "properties": {"url": URL}},
        ]
    }
)
def media_url(name: str, value: Any) -> None:
    """Where a server is told to fetch a picture from: never one of its own files."""
    url = value.get("url") if type(value) is dict else value
    if type(url) is not str:
        raise wrong_type(name, "a string")
    if not url[:8].lower().startswith(SCHEMES):
        raise InvalidRequest(f"'{name}' must be an http, https or data URL.", param=name)


def _part(kinds: list[str], properties: Schema, *required: str) -> Schema:
    return {
        "type": "object",
        "required": ["type", *required],
        "properties": {"type": {"type": "string", "enum": kinds}, **properties},
    }


PART: Schema = {
    "anyOf": [
        _part(["text"], {"text": {"type": "string"}}, "text"),
        *(
            _part([kind], {kind: {"anyOf": [schema_of(media_url), {"type": "null"}]}})
            for kind in sorted(URLS)
        ),
        _part(sorted(PARTS - URLS - {"text"}), {}),
    ]
}
CONTENT: Schema = {"anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": PART}]}
MESSAGE: Schema = {
    "type": "object",
    "required": ["role"],
    "properties": {"role": {"type": "string", "enum": sorted(ROLES)}, "content": CONTENT},
}


@says({"type": "array", "minItems": 1, "maxItems": MAX_MESSAGES, "items": MESSAGE})
def messages(name: str, value: Any) -> None:
    if type(value) is not list:
        raise wrong_type(name, "an array")
    if not value:
        raise empty(name, "empty_array")
    if len(value) > MAX_MESSAGES:
        raise too_long(name, MAX_MESSAGES)
    for number, message in enumerate(value):
        if type(message) is dict and type(message.get("content")) is str:
            role = message.get("role")
            if type(role) is str and role in ROLES:
                continue  # nearly all of them
        _message(f"{name}[{number}]", message)


def _message(path: str, message: Any) -> None:
    if type(message) is not dict:
        raise wrong_type(path, "an object")
    role = message.get("role")
    if role is None:
        raise missing(f"{path}.role")
    if type(role) is not str:
        raise wrong_type(f"{path}.role", "a string")
    if role not in ROLES:
        raise InvalidRequest(
            f"'{path}.role' must be one of {', '.join(sorted(ROLES))}.", param=f"{path}.role"
        )
    content = message.get("content")
    if type(content) is list:
        _content(f"{path}.content", content)
    elif content is not None and type(content) is not str:
        raise wrong_type(f"{path}.content", "a string or an array")


def _content(name: str, parts: list[Any]) -> None:
    for number, part in enumerate(parts):
        path = f"{name}[{number}]"
        if type(part) is not dict:
            raise wrong_type(path, "an object")
        kind = part.get("type")
        if type(kind) is not str or kind not in PARTS:
            raise InvalidRequest(
                f"'{path}.type' must be one of {', '.join(sorted(PARTS))}.", param=f"{path}.type"
            )
        if kind == "text" and type(part.get("text")) is not str:
            raise wrong_type(f"{path}.text", "a string")
        if kind in URLS and part.get(kind) is not None:
            media_url(f"{path}.{kind}.url", part[kind])


IDS: Schema = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "integer", "minimum": 0, "maximum": MAX_INT},
}


def texts(most: int) -> Check:
    """A text, several, or the same as token ids."""

    def several(items: Schema) -> Schema:
        return {"type": "array", "minItems": 1, "maxItems": most, "items": items}

    @says({"anyOf": [{"type": "string"}, several({"type": "string"}), IDS, several(IDS)]})
    def checker(name: str, value: Any) -> None:
        if type(value) is str:
            return
        if type(value) is not list:
            raise wrong_type(name, "a string or an array")
        if not value:
            raise empty(name, "empty_array")
        kinds = {type(item) for item in value}
        if kinds == {int}:
            _tokens(name, value)
            return
        if kinds not in ({str}, {list}):
            raise wrong_type(name, "an array of strings, of token ids, or of arrays of token ids")
        if len(value) > most:
            raise too_long(name, most)
        for number, item in enumerate(value):
            if type(item) is list:
                _tokens(f"{name}[{number}]", item)

    return checker


def _tokens(name: str, value: list[Any]) -> None:
    if not value:
        raise empty(name, "empty_array")
    for token in value:
        if type(token) is not int:
            raise wrong_type(name, "an array of token ids")
        if not 0 <= token <= MAX_INT:
            raise InvalidRequest(f"'{name}' has a token id out of range.", param=name)
