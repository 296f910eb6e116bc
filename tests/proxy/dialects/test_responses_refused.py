"""Requests of /responses that are refused: where they are at fault, and the code of that."""

from __future__ import annotations

from typing import Any

import pytest

from h2o_relay.errors import InvalidRequest
from h2o_relay_proxy.dialects.responses.fields import MOVED

from .responses_kit import TOOL, called, read, refused, result, thought, user


def part(**fields: Any) -> dict[str, Any]:
    return {"input": [user(), user([{"type": "input_text", "text": "a"}, fields])]}


IMAGE = {"type": "input_image"}
REFUSALS: list[tuple[dict[str, Any], str | None, str]] = [
    ({"input": None}, "input", "missing_required_parameter"),
    ({"input": []}, "input", "empty_array"),
    ({"input": 5}, "input", "invalid_type"),
    ({"input": {}}, "input", "invalid_type"),
    ({"input": [user()] * 10_001}, "input", "array_too_long"),
    ({"input": [5]}, "input[0]", "invalid_type"),
    ({"input": [{}]}, "input[0].type", "missing_required_parameter"),
    ({"input": [{"type": 7}]}, "input[0].type", "invalid_type"),
    ({"input": [{"type": "bogus"}]}, "input[0].type", "invalid_value"),
    ({"input": [user(), {"type": "web_search_call"}]}, "input[1].type", "unsupported_parameter"),
    ({"input": [{"type": "message", "content": "a"}]}, "input[0].role",
     "missing_required_parameter"),
    ({"input": [{"role": 3, "content": "a"}]}, "input[0].role", "invalid_type"),
    ({"input": [{"role": "tool", "content": "a"}]}, "input[0].role", "invalid_value"),
    ({"input": [{"role": "user"}]}, "input[0].content", "missing_required_parameter"),
    ({"input": [user(5)]}, "input[0].content", "invalid_type"),
    ({"input": [user(["a"])]}, "input[0].content[0]", "invalid_type"),
    ({"input": [{**user(), "id": 4}]}, "input[0].id", "invalid_type"),
    ({"input": [{**user(), "status": "odd"}]}, "input[0].status", "invalid_value"),
    (part(), "input[1].content[1].type", "missing_required_parameter"),
    (part(type=3), "input[1].content[1].type", "invalid_type"),
    (part(type="text", text="a"), "input[1].content[1].type", "invalid_value"),
    (part(type="output_text", text="a"), "input[1].content[1].type", "invalid_value"),
    (part(type="input_text"), "input[1].content[1].text", "missing_required_parameter"),
    (part(type="input_text", text=5), "input[1].content[1].text", "invalid_type"),
    (part(**IMAGE), "input[1].content[1].image_url", "missing_required_parameter"),
    (part(**IMAGE, image_url="file:///etc/passwd"), "input[1].content[1].image_url",
     "invalid_value"),
    (part(**IMAGE, image_url={"url": "https://a"}), "input[1].content[1].image_url",
     "invalid_type"),
    (part(**IMAGE, image_url="data:x", detail="huge"), "input[1].content[1].detail",
     "invalid_value"),
    (part(**IMAGE, file_id="f"), "input[1].content[1].file_id", "unsupported_parameter"),
    (part(type="input_file", file_url="https://a"), "input[1].content[1].file_url",
     "unsupported_parameter"),
    (part(type="input_file"), "input[1].content[1].file_data", "missing_required_parameter"),
    (part(type="input_audio"), "input[1].content[1].input_audio", "missing_required_parameter"),
    (part(type="input_audio", input_audio={"data": "a"}),
     "input[1].content[1].input_audio.format", "missing_required_parameter"),
    ({"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "a"}]}]},
     "input[0].content[0].type", "invalid_value"),
    ({"input": [{**called(), "arguments": {}}]}, "input[0].arguments", "invalid_type"),
    ({"input": [{**called(), "call_id": None}]}, "input[0].call_id",
     "missing_required_parameter"),
    ({"input": [result("c9")]}, "input[0].call_id", "invalid_value"),
    ({"input": [called(), result(output=None)]}, "input[1].output", "missing_required_parameter"),
    ({"input": [called(), result(output=[{"type": "x"}])]}, "input[1].output[0].type",
     "invalid_value"),
    ({"input": [{"type": "reasoning", "summary": "a"}]}, "input[0].summary", "invalid_type"),
    ({"input": [{"type": "reasoning", "content": [{"type": "x", "text": "a"}]}]},
     "input[0].content[0].type", "invalid_value"),
    ({"input": [thought("only")]}, "input", "invalid_value"),
    ({"model": []}, "model", "invalid_type"),
    ({"temperature": "0.5"}, "temperature", "invalid_type"),
    ({"temperature": True}, "temperature", "invalid_type"),
    ({"temperature": 3}, "temperature", "above_max_value"),
    ({"top_p": -1}, "top_p", "below_min_value"),
    ({"max_output_tokens": 0}, "max_output_tokens", "below_min_value"),
    ({"max_output_tokens": 1.5}, "max_output_tokens", "invalid_type"),
    ({"max_output_tokens": 10**12}, "max_output_tokens", "above_max_value"),
    ({"top_logprobs": 21}, "top_logprobs", "above_max_value"),
    ({"stream": "yes"}, "stream", "invalid_type"),
    ({"stream_options": {"include_obfuscation": True}}, "stream_options", "invalid_value"),
    ({"truncation": "sometimes"}, "truncation", "invalid_value"),
    ({"instructions": 5}, "instructions", "invalid_type"),
    ({"include": "all"}, "include", "invalid_type"),
    ({"include": ["a"]}, "include[0]", "invalid_value"),
    ({"metadata": {str(n): "" for n in range(17)}}, "metadata", "array_too_long"),
    ({"metadata": {"a": 1}}, "metadata.a", "invalid_type"),
    ({"metadata": {"a": "b" * 513}}, "metadata.a", "string_too_long"),
    ({"reasoning": "low"}, "reasoning", "invalid_type"),
    ({"reasoning": {"effort": 1}}, "reasoning.effort", "invalid_type"),
    ({"reasoning": {"summary": "long"}}, "reasoning.summary", "invalid_value"),
    ({"text": "json"}, "text", "invalid_type"),
    ({"text": {"format": "json"}}, "text.format", "invalid_type"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type", "invalid_value"),
    ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema",
     "missing_required_parameter"),
    ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name",
     "missing_required_parameter"),
    ({"text": {"verbosity": "loud"}}, "text.verbosity", "invalid_value"),
    ({"tools": [5]}, "tools[0]", "invalid_type"),
    ({"tools": [TOOL, {"type": "web_search"}]}, "tools[1].type", "unsupported_parameter"),
    ({"tools": [{"type": "custom", "name": "a"}]}, "tools[0].type", "unsupported_parameter"),
    ({"tools": [{"type": "function", "function": {"name": "look"}}]}, "tools[0].name",
     "missing_required_parameter"),
    ({"tools": [{**TOOL, "parameters": "none"}]}, "tools[0].parameters", "invalid_type"),
    ({"tools": [{**TOOL, "strict": "yes"}]}, "tools[0].strict", "invalid_type"),
    ({"tool_choice": "any"}, "tool_choice", "invalid_value"),
    ({"tool_choice": ""}, "tool_choice", "invalid_value"),
    ({"tool_choice": {}}, "tool_choice.type", "missing_required_parameter"),
    ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name",
     "invalid_value"),
    ({"tools": [TOOL], "tool_choice": {"type": "web_search_preview"}}, "tool_choice.type",
     "unsupported_parameter"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}},
     "tool_choice.tools", "invalid_value"),
    ({"background": True}, "background", "unsupported_parameter"),
    ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
    ({"prompt": {"id": "p"}}, "prompt", "unsupported_parameter"),
    ({"previous_response_id": "resp_1"}, "previous_response_id", "previous_response_not_found"),
    ({"n": 2}, "n", "unsupported_parameter"),
    ({"n": True}, "n", "unsupported_parameter"),
    ({"modalities": ["audio"]}, "modalities", "unsupported_parameter"),
    ({"stop": [""]}, "stop[0]", "invalid_value"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "param", "code"), REFUSALS)
def test_what_is_refused(fields: dict[str, Any], param: str | None, code: str) -> None:
    assert refused(**fields) == (param, code)


@pytest.mark.parametrize("name", MOVED)
def test_a_field_of_chat_completions_is_refused_and_its_place_told(name: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"'{name}'.*'{MOVED[name]}'") as caught:
        read(**{name: "a"})
    assert (caught.value.param, caught.value.code) == (name, "unsupported_parameter")
