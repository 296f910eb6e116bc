"""Every field that the official clients know, each with values that ask for something.

The names come from the clients' own type definitions, so that a field which a new release adds is
tested from then on, with `ANYTHING` until it has values here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anthropic.types import message_create_params as anthropic_messages
from openai.types import completion_create_params as openai_text
from openai.types import embedding_create_params as openai_embeddings
from openai.types.chat import completion_create_params as openai_chat
from openai.types.responses import response_create_params as openai_responses

from .features import (
    ANTHROPIC_TOOLS,
    HISTORY,
    LOOK,
    NAMED,
    RESPONSE_TOOLS,
    SCHEMA,
    STREAM,
    TOOLS,
    Fields,
    tool,
    user,
)

ANYTHING = ("anything",)


@dataclass(frozen=True)
class Values:
    """What a field can be asked to be, in a request where it makes sense."""

    values: Sequence[Any]
    beside: Fields = field(default_factory=dict)

    @property
    def first(self) -> Any:
        return self.values[0]


def some(*values: Any, **beside: Any) -> Values:
    return Values(values, beside)


UNKNOWN = "x_unknown_123"
SYSTEM = [{"role": "system", "content": "Be brief."}, user("Hi")]
SAMPLING: dict[str, Values] = {
    "max_tokens": some(5, 100),
    "temperature": some(0.5, 1.5, 0),
    "top_p": some(0.5, 0.9),
    "stop": some([" three"], " two", [" three", " two"]),
    "seed": some(7, 0, -1),
    "logit_bias": some({"42": -5}),
    "presence_penalty": some(0.5, 1.5),
    "frequency_penalty": some(0.5, -1, 2),
    "n": some(2),
    "user": some("ann"),
    "stream": some(True),
    "stream_options": some({"include_usage": True}, **STREAM),
    UNKNOWN: some("canary", {"a": [1]}),
}
FUNCTIONS = [{**tool("weather"), "parameters": SCHEMA}]
CHOICE = {"type": "function", "function": {"name": "time"}}
CHAT: dict[str, Values] = {
    **SAMPLING,
    "messages": some(SYSTEM, HISTORY),
    "max_completion_tokens": some(5, 100),
    "tools": some(TOOLS, TOOLS[:1]),
    "tool_choice": some(CHOICE, "none", "required", tools=TOOLS),
    "parallel_tool_calls": some(False, tools=TOOLS),
    "functions": some(FUNCTIONS),
    "function_call": some("none", {"name": "weather"}, functions=FUNCTIONS),
    "response_format": some({"type": "json_object"}, NAMED),
    "logprobs": some(True),
    "top_logprobs": some(2, 5, logprobs=True),
    "reasoning_effort": some("low", "high"),
    "verbosity": some("low"),
    "audio": some({"voice": "alloy", "format": "wav"}, modalities=["text", "audio"]),
    "modalities": some(["text", "audio"], audio={"voice": "alloy", "format": "wav"}),
    "metadata": some({"a": "b"}),
    "store": some(True),
    "prediction": some({"type": "content", "content": "One two"}),
    "moderation": some({"model": "omni-moderation-latest"}),
    "prompt_cache_key": some("k"),
    "prompt_cache_options": some({"mode": "explicit"}),
    "prompt_cache_retention": some("24h"),
    "safety_identifier": some("s"),
    "service_tier": some("flex"),
    "web_search_options": some({}, {"search_context_size": "low"}),
}
TEXT: dict[str, Values] = {
    **SAMPLING,
    "prompt": some("Count.", ["One", "Two"], [1, 2, 3]),
    "best_of": some(2),
    "echo": some(True),
    "logprobs": some(0, 2),
    "suffix": some("the end"),
}
MESSAGES: dict[str, Values] = {
    "messages": some(
        [user("One"), {"role": "assistant", "content": "Two"}, user("Three")],
        [user([{"type": "text", "text": "Other"}])],
    ),
    "max_tokens": some(5, 100),
    "system": some("Be brief.", [{"type": "text", "text": "Be brief."}]),
    "stop_sequences": some([" three"]),
    "stream": some(True),
    "temperature": some(0.5, 0.9),
    "top_k": some(5),
    "top_p": some(0.5),
    "tools": some(ANTHROPIC_TOOLS),
    "tool_choice": some(
        {"type": "tool", "name": "time"}, {"type": "none"}, {"type": "any"},
        {"type": "auto", "disable_parallel_tool_use": True}, tools=ANTHROPIC_TOOLS,
    ),
    "thinking": some({"type": "enabled", "budget_tokens": 1024}, max_tokens=2000),
    "metadata": some({"user_id": "ann"}),
    "service_tier": some("standard_only"),
    "output_config": some(
        {"effort": "low"}, {"format": {"type": "json_schema", "schema": SCHEMA}}
    ),
    "cache_control": some({"type": "ephemeral"}),
    "container": some("c_1"),
    "inference_geo": some("us"),
    "speed": some("fast"),
    UNKNOWN: some("canary", {"a": [1]}),
}  # fmt: skip
RESPONSES: dict[str, Values] = {
    "input": some(
        [user("One"), {"role": "assistant", "content": "Two"}, user("Three")],
        [user(LOOK)],
    ),
    "instructions": some("Be brief."),
    "max_output_tokens": some(50, 100),
    "temperature": some(0.5, 1.5),
    "top_p": some(0.5),
    "top_logprobs": some(2, include=["message.output_text.logprobs"]),
    "include": some(["message.output_text.logprobs"]),
    "stream": some(True),
    "stream_options": some({"include_obfuscation": True}, **STREAM),
    "tools": some(RESPONSE_TOOLS),
    "tool_choice": some(
        {"type": "function", "name": "time"}, "none", "required", tools=RESPONSE_TOOLS
    ),
    "parallel_tool_calls": some(False, tools=RESPONSE_TOOLS),
    "reasoning": some({"effort": "low"}),
    "text": some(
        {"format": {"type": "json_object"}}, {"verbosity": "low"},
        {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA}},
    ),
    "user": some("ann"),
    "metadata": some({"a": "b"}),
    "background": some(True),
    "conversation": some("conv_1"),
    "previous_response_id": some("resp_1"),
    "prompt": some({"id": "pmpt_1"}),
    "prompt_cache_key": some("k"),
    "prompt_cache_options": some({"mode": "explicit"}),
    "prompt_cache_retention": some("24h"),
    "safety_identifier": some("s"),
    "service_tier": some("flex"),
    "moderation": some({"model": "omni-moderation-latest"}),
    "context_management": some([{"type": "compaction", "compact_threshold": 1000}]),
    UNKNOWN: some("canary", {"a": [1]}),
}  # fmt: skip
ROUTING = frozenset({"model"})
"""Not a field of the answer: it chooses who gives it, and has tests of its own."""
ELSEWHERE: Mapping[str, frozenset[str]] = {
    "responses": frozenset({"truncation", "store", "max_tool_calls"}),
}
"""Fields that the relay does where a comparison could not show it. `truncation` makes a difference
if a conversation does not fit the context (tests/core/test_rendering.py), `store` to whoever asks
for the response later (test_nothing_disappears.py), and `max_tool_calls` to the tools that a server
runs by itself, of which the relay runs none.
"""
SYNONYMS = ({"max_tokens", "max_completion_tokens"}, {"tools", "functions"})
"""Of these one is enough: the newer name wins where both are given."""
EMBEDDINGS: dict[str, Values] = {
    "input": some(["One", "Two"], [1, 2, 3]),
    "dimensions": some(8),
    "encoding_format": some("base64"),
    "user": some("ann"),
    UNKNOWN: some("canary"),
}
KNOWN: Mapping[str, Mapping[str, Values]] = {
    "chat": CHAT, "text": TEXT, "responses": RESPONSES, "messages": MESSAGES,
    "embeddings": EMBEDDINGS,
}  # fmt: skip
PUBLISHED: Mapping[str, tuple[Any, ...]] = {
    "chat": (
        openai_chat.CompletionCreateParamsStreaming,
        openai_chat.CompletionCreateParamsNonStreaming,
    ),
    "text": (
        openai_text.CompletionCreateParamsStreaming,
        openai_text.CompletionCreateParamsNonStreaming,
    ),
    "responses": (
        openai_responses.ResponseCreateParamsStreaming,
        openai_responses.ResponseCreateParamsNonStreaming,
    ),
    "messages": (
        anthropic_messages.MessageCreateParamsStreaming,
        anthropic_messages.MessageCreateParamsNonStreaming,
    ),
    "embeddings": (openai_embeddings.EmbeddingCreateParams,),
}


def published(dialect: str) -> set[str]:
    """The fields of the official client's request."""
    return {name for params in PUBLISHED[dialect] for name in params.__annotations__}


def fields(dialect: str) -> dict[str, Values]:
    """All fields of a dialect that must not disappear."""
    names = published(dialect) | set(KNOWN[dialect])
    names -= ROUTING | ELSEWHERE.get(dialect, frozenset())
    return {name: KNOWN[dialect].get(name, Values(ANYTHING)) for name in sorted(names)}
