"""The rows of the matrix: what each dialect can ask for, and what a good answer has then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from .said import Said
from .speaking import OBJECT, TEXTS

Fields = Mapping[str, Any]
Check = Callable[[Said], object]
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # noqa: E501
SCHEMA = {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
    "additionalProperties": False,
}  # fmt: skip
TEXT = "".join(TEXTS)
ASK = "Count to three."


@dataclass(frozen=True)
class Feature:
    """A row: what is asked for, in a request that is otherwise `beside`."""

    name: str
    fields: Fields
    beside: Fields = field(default_factory=dict)
    good: Check | None = None
    """Whether an answer that has it looks like it."""


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def called(count: int) -> Check:
    """That many calls, each with its name and all of its arguments."""

    def check(said: Said) -> object:
        calls = list(said.calls.values())
        same = all(orjson.loads(a) == orjson.loads(OBJECT) for _, a in calls)
        return len(calls) == count and same and all(name for name, _ in calls)

    return check


def is_json(said: Said) -> object:
    return orjson.loads(said.texts[0]) == orjson.loads(OBJECT)


def tool(name: str) -> dict[str, Any]:
    return {"name": name, "description": f"Tell the {name}."}


TOOLS = [
    {"type": "function", "function": {**tool(name), "parameters": SCHEMA}}
    for name in ("weather", "time")
]
STREAM: Fields = {"stream": True}
CALL = {"id": "call_0", "type": "function", "function": {"name": "weather", "arguments": OBJECT}}
HISTORY = [
    user("How is the weather?"),
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_0", "content": "Rain."},
]
PICTURE = [
    {"type": "text", "text": "What is it?"},
    {"type": "image_url", "image_url": {"url": PIXEL}},
]
BRIEF = {"role": "system", "content": "Be brief."}
NAMED = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
SAMPLING = (
    Feature("temperature", {"temperature": 0.5}),
    Feature("top_p", {"top_p": 0.5}),
    Feature("stop", {"stop": [" three"]}),
    Feature("seed", {"seed": 7}),
    Feature("logit_bias", {"logit_bias": {"42": -5}}),
    Feature("presence_penalty", {"presence_penalty": 0.5}),
    Feature("frequency_penalty", {"frequency_penalty": 0.5}),
)
SHARED = (
    Feature("streaming", STREAM, good=lambda said: said.streamed and said.texts[0] == TEXT),
    Feature("max_tokens", {"max_tokens": 5}),
    *SAMPLING,
    Feature("n", {"n": 2}, good=lambda said: said.texts == {0: TEXT, 1: TEXT}),
    Feature("user", {"user": "ann"}),
    Feature("usage", {}, good=lambda said: said.usage and said.usage["total_tokens"]),
    Feature(
        "usage of a stream", {"stream_options": {"include_usage": True}}, STREAM,
        good=lambda said: said.usage and said.usage["total_tokens"],
    ),
    Feature("a field that nobody knows", {"x_unknown_123": {"a": [1]}}),
)  # fmt: skip
CHAT = (
    Feature("system message", {"messages": [BRIEF, user(ASK)]}),
    Feature("developer message", {"messages": [{**BRIEF, "role": "developer"}, user(ASK)]}),
    Feature("images", {"messages": [user(PICTURE)]}),
    *SHARED[:1],
    Feature("max_completion_tokens", {"max_completion_tokens": 5}),
    *SHARED[1:],
    Feature("tools, several calls", {"tools": TOOLS}, good=called(2)),
    Feature("tools, streamed arguments", {"tools": TOOLS}, STREAM, good=called(2)),
    Feature(
        "tool_choice, a function",
        {"tool_choice": {"type": "function", "function": {"name": "time"}}}, {"tools": TOOLS},
        good=lambda said: [name for name, _ in said.calls.values()] == ["time"],
    ),
    Feature("tool_choice, required", {"tool_choice": "required"}, {"tools": TOOLS[:1]}, called(1)),
    Feature("tool_choice, none", {"tool_choice": "none"}, {"tools": TOOLS}, called(0)),
    Feature("parallel_tool_calls", {"parallel_tool_calls": False}, {"tools": TOOLS}, called(1)),
    Feature("results of tools", {"messages": HISTORY}),
    Feature("json_object", {"response_format": {"type": "json_object"}}, good=is_json),
    Feature("json_schema", {"response_format": NAMED}, good=is_json),
    Feature("logprobs", {"logprobs": True}, good=lambda said: said.logprobs),
    Feature("top_logprobs", {"top_logprobs": 2}, {"logprobs": True}, lambda said: said.tops),
    Feature("logprobs of a stream", {"logprobs": True}, STREAM, lambda said: said.logprobs),
    Feature("reasoning", {"reasoning_effort": "low"}, good=lambda said: said.reasoning),
    Feature("reasoning of a stream", {"reasoning_effort": "low"}, STREAM,
            lambda said: said.reasoning),
)  # fmt: skip
COMPLETIONS = (
    *SHARED,
    Feature("logprobs", {"logprobs": 0}, good=lambda said: said.logprobs),
    Feature("logprobs, alternatives", {"logprobs": 2}, good=lambda said: said.logprobs),
    Feature("several prompts", {"prompt": ["One", "Two"]}),
    Feature("token ids", {"prompt": [1, 2, 3]}),
    Feature("suffix", {"suffix": "the end"}),
    Feature("echo", {"echo": True}),
    Feature("best_of", {"best_of": 2}),
)
ANTHROPIC_TOOLS = [{**tool(name), "input_schema": SCHEMA} for name in ("weather", "time")]
USED = {"type": "tool_use", "id": "toolu_0", "name": "weather", "input": {"city": "Oslo"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_0", "content": "Rain."}
PNG = {"type": "base64", "media_type": "image/png", "data": PIXEL.partition(",")[2]}
SEEN = [{"type": "text", "text": "What is it?"}, {"type": "image", "source": PNG}]
MESSAGES = (
    Feature("system", {"system": "Be brief."}),
    Feature("images", {"messages": [user(SEEN)]}),
    Feature("streaming", STREAM, good=lambda said: said.streamed and said.texts[0] == TEXT),
    Feature("max_tokens", {"max_tokens": 20}),
    Feature("temperature", {"temperature": 0.5}),
    Feature("top_p", {"top_p": 0.5}),
    Feature("top_k", {"top_k": 5}),
    Feature("stop_sequences", {"stop_sequences": [" three"]}),
    Feature("metadata.user_id", {"metadata": {"user_id": "ann"}}),
    Feature("usage", {}, good=lambda said: said.usage and said.usage["output_tokens"]),
    Feature("usage of a stream", {}, STREAM,
            lambda said: said.usage and said.usage["output_tokens"]),
    Feature("a field that nobody knows", {"x_unknown_123": {"a": [1]}}),
    Feature("tools, several calls", {"tools": ANTHROPIC_TOOLS}, good=called(2)),
    Feature("tools, streamed arguments", {"tools": ANTHROPIC_TOOLS}, STREAM, called(2)),
    Feature(
        "tool_choice, a tool", {"tool_choice": {"type": "tool", "name": "time"}},
        {"tools": ANTHROPIC_TOOLS},
        good=lambda said: [name for name, _ in said.calls.values()] == ["time"],
    ),
    Feature("tool_choice, any", {"tool_choice": {"type": "any"}}, {"tools": ANTHROPIC_TOOLS[:1]},
            called(1)),
    Feature("tool_choice, none", {"tool_choice": {"type": "none"}}, {"tools": ANTHROPIC_TOOLS},
            called(0)),
    Feature("disable_parallel_tool_use",
            {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
            {"tools": ANTHROPIC_TOOLS}, called(1)),
    Feature(
        "results of tools",
        {"messages": [user("How is the weather?"), {"role": "assistant", "content": [USED]},
                      user([RESULT])]},
    ),
    Feature("json_schema",
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, good=is_json),
    Feature("reasoning", {"output_config": {"effort": "low"}}, good=lambda said: said.reasoning),
    Feature("reasoning of a stream", {"output_config": {"effort": "low"}}, STREAM,
            lambda said: said.reasoning),
    Feature("thinking", {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            {"max_tokens": 2000}),
    Feature("cache_control", {"cache_control": {"type": "ephemeral"}}),
)  # fmt: skip
RESPONSE_TOOLS = [
    {"type": "function", **tool(name), "parameters": SCHEMA, "strict": True}
    for name in ("weather", "time")
]
LOGPROBS = ["message.output_text.logprobs"]
FORMAT = {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}
LOOK = [{"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": PIXEL, "detail": "auto"}]  # fmt: skip
DONE = [
    user("How is the weather?"),
    {"type": "function_call", "call_id": "call_0", "name": "weather", "arguments": OBJECT},
    {"type": "function_call_output", "call_id": "call_0", "output": "Rain."},
]
RESPONSES = (
    Feature("instructions", {"instructions": "Be brief."}),
    Feature("developer message", {"input": [{**BRIEF, "role": "developer"}, user(ASK)]}),
    Feature("images", {"input": [user(LOOK)]}),
    Feature("streaming", STREAM, good=lambda said: said.streamed and said.texts[0] == TEXT),
    Feature("max_output_tokens", {"max_output_tokens": 20}),
    Feature("temperature", {"temperature": 0.5}),
    Feature("top_p", {"top_p": 0.5}),
    Feature("user", {"user": "ann"}),
    Feature("usage", {}, good=lambda said: said.usage and said.usage["total_tokens"]),
    Feature("usage of a stream", {}, STREAM,
            lambda said: said.usage and said.usage["total_tokens"]),
    Feature("a field that nobody knows", {"x_unknown_123": {"a": [1]}}),
    Feature("tools, several calls", {"tools": RESPONSE_TOOLS}, good=called(2)),
    Feature("tools, streamed arguments", {"tools": RESPONSE_TOOLS}, STREAM, called(2)),
    Feature(
        "tool_choice, a function", {"tool_choice": {"type": "function", "name": "time"}},
        {"tools": RESPONSE_TOOLS},
        good=lambda said: [name for name, _ in said.calls.values()] == ["time"],
    ),
    Feature("tool_choice, required", {"tool_choice": "required"}, {"tools": RESPONSE_TOOLS[:1]},
            called(1)),
    Feature("tool_choice, none", {"tool_choice": "none"}, {"tools": RESPONSE_TOOLS}, called(0)),
    Feature("parallel_tool_calls", {"parallel_tool_calls": False}, {"tools": RESPONSE_TOOLS},
            called(1)),
    Feature("results of tools", {"input": DONE}),
    Feature("json_object", {"text": {"format": {"type": "json_object"}}}, good=is_json),
    Feature("json_schema", {"text": {"format": FORMAT}}, good=is_json),
    Feature("verbosity", {"text": {"verbosity": "low"}}),
    Feature("logprobs", {"include": LOGPROBS}, good=lambda said: said.logprobs),
    Feature("top_logprobs", {"top_logprobs": 2}, {"include": LOGPROBS}, lambda said: said.tops),
    Feature("reasoning", {"reasoning": {"effort": "low"}}, good=lambda said: said.reasoning),
    Feature("reasoning of a stream", {"reasoning": {"effort": "low"}}, STREAM,
            lambda said: said.reasoning),
)  # fmt: skip
BASES: Mapping[str, Fields] = {
    "chat": {"messages": [user(ASK)]},
    "text": {"prompt": ASK},
    "responses": {"input": ASK, "store": False},
    "messages": {"messages": [user(ASK)], "max_tokens": 50},
    "embeddings": {"input": ASK},
}
FEATURES: dict[str, tuple[Feature, ...]] = {
    "chat": CHAT, "text": COMPLETIONS, "responses": RESPONSES, "messages": MESSAGES,
}  # fmt: skip
TOKENS = {"prompt": ASK}
CALLS: Mapping[str, Fields] = {
    "/embeddings": {"input": ASK},
    "/rerank": {"query": "fruit", "documents": ["apple", "car"]},
    "/score": {"text_1": "fruit", "text_2": "apple"},
    "/tokenize": TOKENS,
    "/detokenize": {"tokens": [1, 2, 3]},
    "/moderations": {"input": ASK},
    "/audio/speech": {"input": ASK, "voice": "alloy"},
    "/images/generations": {"prompt": "A parrot."},
    "/responses/input_tokens": {"input": ASK},
    "/messages/count_tokens": {"messages": [user(ASK)]},
}
"""Other paths below /v1, each with the least that can be asked of it."""
