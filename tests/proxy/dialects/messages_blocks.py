"""Requests of /messages to test with: blocks, turns, tools."""

from __future__ import annotations

from typing import Any

PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
PICTURE = {"type": "image", "source": PNG}
PICTURE_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
LOOK = {"name": "look", "input_schema": {"type": "object", "properties": {}}}
LOOK_FUNCTION = {
    "type": "function", "function": {"name": "look", "parameters": LOOK["input_schema"]},
}  # fmt: skip
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
CALL = {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "Rome"}}
CALLED = {
    "id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"at":"Rome"}'},
}  # fmt: skip


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


CITED = {
    "type": "search_result", "title": "A", "source": "https://a.test",
    "content": [{"type": "text", "text": "It is so."}],
}  # fmt: skip


def document(source: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "document", "source": source, **more}
