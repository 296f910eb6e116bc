"""Requests of /messages that are wrong: the path, the code."""

from __future__ import annotations

from typing import Any

import pytest

from h2o_relay.errors import InvalidRequest
from h2o_relay_proxy.dialects.messages import DIALECT

from .messages_blocks import (
    CALL,
    CITED,
    LOOK,
    PICTURE,
    PNG,
    SEARCH,
    assistant,
    document,
    text,
    user,
)
from .messages_kit import USER

MESSAGE = "messages[0]"
BLOCK = "messages[0].content[0]"
RESULT = {"type": "tool_result", "tool_use_id": "t"}
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"model": 1.5}, "model", "invalid_type"),
    ({"max_tokens": None}, "max_tokens", "missing_required_parameter"),
    ({"max_tokens": 0}, "max_tokens", "below_min_value"),
    ({"max_tokens": 2**31}, "max_tokens", "above_max_value"),
    ({"max_tokens": "9"}, "max_tokens", "invalid_type"),
    ({"max_tokens": True}, "max_tokens", "invalid_type"),
    ({"stream": 1}, "stream", "invalid_type"),
    ({"temperature": 1.1}, "temperature", "above_max_value"),
    ({"temperature": -0.1}, "temperature", "below_min_value"),
    ({"temperature": "1"}, "temperature", "invalid_type"),
    ({"top_p": 2}, "top_p", "above_max_value"),
    ({"top_k": 1.5}, "top_k", "invalid_type"),
    ({"top_k": -1}, "top_k", "below_min_value"),
    ({"stop_sequences": "END"}, "stop_sequences", "invalid_type"),
    ({"stop_sequences": ["a", 1]}, "stop_sequences[1]", "invalid_type"),
    ({"stop_sequences": [""]}, "stop_sequences[0]", "invalid_value"),
    ({"metadata": "u"}, "metadata", "invalid_type"),
    ({"metadata": {"user_id": 7}}, "metadata.user_id", "invalid_type"),
    ({"service_tier": "flex"}, "service_tier", "invalid_value"),
    ({"thinking": True}, "thinking", "invalid_type"),
    ({"thinking": {}}, "thinking.type", "missing_required_parameter"),
    ({"thinking": {"type": "much"}}, "thinking.type", "invalid_value"),
    ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens", "missing_required_parameter"),
    (
        {"thinking": {"type": "enabled", "budget_tokens": 5}},
        "thinking.budget_tokens", "below_min_value",
    ),
    ({"output_config": []}, "output_config", "invalid_type"),
    ({"output_config": {"effort": "huge"}}, "output_config.effort", "invalid_value"),
    (
        {"output_config": {"format": {"type": "json_object"}}},
        "output_config.format.type", "invalid_value",
    ),
    (
        {"output_config": {"format": {"type": "json_schema"}}},
        "output_config.format.schema", "missing_required_parameter",
    ),
    ({"output_format": {"type": "json_schema", "schema": []}}, "output_format.schema",
     "invalid_type"),
    (
        {
            "output_format": {"type": "json_schema", "schema": {}},
            "output_config": {"format": {"type": "json_schema", "schema": {}}},
        },
        "output_format", "invalid_value",
    ),
    ({"seed": "x"}, "seed", "invalid_type"),
    ({"n": 0}, "n", "below_min_value"),
    ({"system": 5}, "system", "invalid_type"),
    ({"system": [PICTURE]}, "system[0].type", "invalid_value"),
    ({"system": [text("a"), {"type": "text"}]}, "system[1].text", "missing_required_parameter"),
    ({"tools": {}}, "tools", "invalid_type"),
    ({"tools": [5]}, "tools[0]", "invalid_type"),
    ({"tools": [{}] * 513}, "tools", "array_too_long"),
    ({"tools": [{**LOOK, "type": 7}]}, "tools[0].type", "invalid_type"),
    ({"tools": [{**LOOK, "name": ""}]}, "tools[0].name", "invalid_value"),
    ({"tools": [LOOK, {"name": "b"}]}, "tools[1].input_schema", "missing_required_parameter"),
    ({"tools": [{**LOOK, "input_schema": "{}"}]}, "tools[0].input_schema", "invalid_type"),
    ({"tools": [{**LOOK, "description": 1}]}, "tools[0].description", "invalid_type"),
    ({"tools": [{**LOOK, "strict": "yes"}]}, "tools[0].strict", "invalid_type"),
    ({"tools": [LOOK, LOOK]}, "tools[1].name", "invalid_value"),
    ({"tools": [LOOK], "tool_choice": "auto"}, "tool_choice", "invalid_type"),
    ({"tools": [LOOK], "tool_choice": {"type": "x"}}, "tool_choice.type", "invalid_value"),
    (
        {"tools": [LOOK], "tool_choice": {"type": "tool", "name": "b"}},
        "tool_choice.name", "invalid_value",
    ),
    (
        {"tools": [LOOK], "tool_choice": {"type": "any", "disable_parallel_tool_use": 1}},
        "tool_choice.disable_parallel_tool_use", "invalid_type",
    ),
    ({"tool_choice": {"type": "any"}}, "tool_choice", "invalid_value"),
    ({"tools": [SEARCH], "tool_choice": {"type": "any"}}, "tool_choice", "invalid_value"),
    (
        {"tools": [SEARCH, LOOK], "tool_choice": {"type": "tool", "name": "web_search"}},
        "tool_choice.name", "invalid_value",
    ),
    ({"messages": None}, "messages", "missing_required_parameter"),
    ({"messages": {}}, "messages", "invalid_type"),
    ({"messages": []}, "messages", "empty_array"),
    ({"messages": USER * 10_001}, "messages", "array_too_long"),
    ({"messages": ["hi"]}, MESSAGE, "invalid_type"),
    ({"messages": [{"content": "hi"}]}, f"{MESSAGE}.role", "missing_required_parameter"),
    ({"messages": [{"role": 3, "content": "hi"}]}, f"{MESSAGE}.role", "invalid_type"),
    ({"messages": [{"role": "tool", "content": "hi"}]}, f"{MESSAGE}.role", "invalid_value"),
    ({"messages": [{"role": "user"}]}, f"{MESSAGE}.content", "missing_required_parameter"),
    ({"messages": [{"role": "user", "content": 5}]}, f"{MESSAGE}.content", "invalid_type"),
    ({"messages": [user()]}, f"{MESSAGE}.content", "empty_array"),
    ({"messages": [user("hi")]}, BLOCK, "invalid_type"),
    ({"messages": [user({"text": "hi"})]}, f"{BLOCK}.type", "missing_required_parameter"),
    ({"messages": [user(text("a"), {"type": "bogus"})]}, f"{MESSAGE}.content[1].type",
     "invalid_value"),
    ({"messages": [user({"type": []})]}, f"{BLOCK}.type", "invalid_type"),
    ({"messages": [user({"type": "text", "text": 1})]}, f"{BLOCK}.text", "invalid_type"),
    ({"messages": [user(CALL)]}, f"{BLOCK}.type", "invalid_value"),
    ({"messages": [assistant(PICTURE)]}, f"{BLOCK}.type", "invalid_value"),
    ({"messages": [assistant({**CALL, "input": "{}"})]}, f"{BLOCK}.input", "invalid_type"),
    ({"messages": [assistant({**CALL, "id": ""})]}, f"{BLOCK}.id", "invalid_value"),
    ({"messages": [assistant({**CALL, "name": None})]}, f"{BLOCK}.name",
     "missing_required_parameter"),
    ({"messages": [user({"type": "image"})]}, f"{BLOCK}.source", "missing_required_parameter"),
    ({"messages": [user({"type": "image", "source": {**PNG, "media_type": "image/bmp"}})]},
     f"{BLOCK}.source.media_type", "invalid_value"),
    ({"messages": [user({"type": "image", "source": {**PNG, "data": ""}})]},
     f"{BLOCK}.source.data", "invalid_value"),
    ({"messages": [user({"type": "image", "source": {"type": "url", "url": "file:///a"}})]},
     f"{BLOCK}.source.url", "invalid_value"),
    ({"messages": [user({"type": "image", "source": {"type": "file", "file_id": "f"}})]},
     f"{BLOCK}.source.type", "invalid_value"),
    ({"messages": [user(document({"type": "url", "url": "https://a.test"}))]},
     f"{BLOCK}.source.type", "invalid_value"),
    ({"messages": [user(document({"type": "file", "file_id": "f"}))]},
     f"{BLOCK}.source.type", "invalid_value"),
    ({"messages": [user(document({"type": "text", "media_type": "text/html", "data": ""}))]},
     f"{BLOCK}.source.media_type", "invalid_value"),
    ({"messages": [user(document({"type": "content", "content": [CITED]}))]},
     f"{BLOCK}.source.content[0].type", "invalid_value"),
    ({"messages": [user({**CITED, "content": "a"})]}, f"{BLOCK}.content", "invalid_type"),
    ({"messages": [user({"type": "tool_result"})]}, f"{BLOCK}.tool_use_id",
     "missing_required_parameter"),
    ({"messages": [user({**RESULT, "is_error": 1})]}, f"{BLOCK}.is_error", "invalid_type"),
    ({"messages": [user({**RESULT, "content": [{"type": "tool_reference"}]})]},
     f"{BLOCK}.content[0].type", "invalid_value"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "param", "code"), WRONG, ids=lambda v: str(v)[:40])
def test_what_is_refused(fields: dict[str, Any], param: str, code: str) -> None:
    given_fields = {"model": "m", "max_tokens": 9, "messages": USER, **fields}
    with pytest.raises(InvalidRequest) as caught:
        DIALECT.read(given_fields)
    assert (caught.value.param, caught.value.code) == (param, code)
    assert param in caught.value.message
