"""Whatever a request of /messages has: it lands in the chat, is reported, or is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from h2o_relay.errors import InvalidRequest
from h2o_relay_proxy import checks
from h2o_relay_proxy.dialects.messages import DIALECT

from .messages_blocks import (
    CALL,
    CITED,
    PICTURE,
    SCHEMA,
    SEARCH,
    assistant,
    document,
    text,
    user,
)
from .messages_kit import read

# Every field of a request, with a text of its own at each place where a text can stand. What is
# chosen of it must be found in the chat's request, or the report must name it.


def whole_request() -> dict[str, Any]:
    hint = {"type": "ephemeral", "ttl": "1h"}
    tool = {
        "name": "look", "description": "D", "input_schema": {"type": "object", "title": "S"},
        "cache_control": hint, "defer_loading": True, "input_examples": [{"a": "E"}],
        "strict": True, "nobody": "N",
    }  # fmt: skip
    seen = [text("R"), PICTURE, CITED]
    return {
        "model": "m", "max_tokens": 9, "temperature": 0.25, "top_p": 0.75, "top_k": 17,
        "stop_sequences": ["Z"], "service_tier": "auto", "speed": "fast",
        "system": [text("Y", cache_control=hint)],
        "metadata": {"user_id": "U", "other": "O"},
        "thinking": {"type": "enabled", "budget_tokens": 2048, "display": "omitted"},
        "tools": [tool, SEARCH],
        "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
        "output_config": {
            "effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}, "more": "M",
        },
        "container": {"id": "C"}, "mcp_servers": [{"type": "url", "url": "V"}],
        "context_management": {"edits": [{"type": "T"}]}, "inference_geo": "us",
        "diagnostics": {"previous_message_id": "P"}, "fallbacks": ["F"], "thread": {"id": "H"},
        "seed": 11, "logit_bias": {"5": 1}, "nobody_knows": "K", "n": 3, "user": "W",
        "messages": [
            user(text("hi", cache_control=hint), PICTURE, CITED),
            user(document({"type": "text", "media_type": "text/plain", "data": "B"}, title="I")),
            assistant({"type": "thinking", "thinking": "G", "signature": "S"}, text("A"), CALL),
            user({"type": "tool_result", "tool_use_id": "t1", "content": seen, "is_error": True}),
            assistant({"type": "redacted_thinking", "data": "X"}, text("begun", citations=["L"])),
        ],
    }  # fmt: skip


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, name))
    else:
        yield path


PLACES = list(leaves(whole_request()))
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
MARKED = [
    path for path in PLACES
    if path[-1] not in ("type", "media_type", "role", "name", "effort", "model", "speed",
                        "service_tier", "ttl", "display", "allowed_callers", "tool_use_id", "id")
]  # fmt: skip


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        value = value[name]
    return value


def test_there_is_much_to_look_for() -> None:
    assert len(MARKED) > 40


@given(
    without=st.sets(st.sampled_from(sorted(set(whole_request()) - {"messages", "max_tokens"}))),
    seed=st.integers(10_000, 99_999),
)
def test_no_field_disappears_unreported(without: set[str], seed: int) -> None:
    request = {
        k: v for k, v in orjson.loads(orjson.dumps(whole_request())).items() if k not in without
    }
    if "tools" not in request:
        request.pop("tool_choice", None)
    marks = {}
    for number, path in enumerate(MARKED):
        if path[0] in request and isinstance(at(request, path), str):
            mark = f"mark{seed}x{number}x"
            at(request, path[:-1])[path[-1]] = (
                f"https://{mark}" if path[-1] in ("url", "source") else mark
            )
            marks[mark] = path
    found = DIALECT.read(request)
    sent = orjson.dumps(found.params).decode()
    for mark, path in marks.items():
        dotted = ".".join(part for part in path if isinstance(part, str))
        assert mark in sent or reported(dotted, found.dropped), (path, found.dropped)
    for name in request:
        landed = name in found.params or name in found.names.values()
        landed = landed or any(own.startswith(f"{name}.") for own in found.names.values())
        landed = landed or name in ("system", "stop_sequences")
        assert landed or reported(name, found.dropped), (name, found.dropped)


def reported(path: str, dropped: tuple[str, ...]) -> bool:
    """Whether the report names this place, or what it is a part of."""
    if path.startswith("messages.content.data") or "cache_control" in path:
        return bool({"messages.content.redacted_thinking", "cache_control"} & set(dropped))
    return any(path == name or path.startswith(f"{name}.") for name in dropped)


VALUES_OF_A_CHAT: dict[str, Any] = {
    "stop": ["a"], "user": "u", "seed": 1, "logit_bias": {"1": 1}, "presence_penalty": 1,
    "frequency_penalty": 1, "max_time": 5, "truncation": "auto", "prompt_type": "plain",
    "response_format": {"type": "json_object"}, "reasoning_effort": "low", "n": 2,
    "logprobs": True, "top_logprobs": 1, "parallel_tool_calls": False, "echo": True,
    "stream_options": {"include_usage": True}, "max_completion_tokens": 4,
    "continue_final_message": False,
}  # fmt: skip


def test_every_field_of_a_chat_travels_or_is_reported() -> None:
    """A field that chats check and nobody here has thought of is not lost."""
    own = {"messages", "max_tokens", "model", "stream", "temperature", "top_p", "tools"}
    for name in set(checks.CHAT) - own - {"tool_choice"}:
        value = VALUES_OF_A_CHAT[name]
        found = read(**{name: value})
        assert found.params.get(name) == value or name in found.dropped, name


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner),
    max_leaves=5,
)
NODES = sorted({path[:end] for path in PLACES for end in range(1, len(path) + 1)}, key=str)


@given(path=st.sampled_from(NODES), junk=JUNK)
def test_anything_anywhere_is_read_or_refused(path: tuple[Any, ...], junk: Any) -> None:
    """Never a traceback; what is refused is named, and what is read is not changed."""
    request = orjson.loads(orjson.dumps(whole_request()))
    at(request, path[:-1])[path[-1]] = junk
    before = orjson.dumps(request)
    refused = None
    try:
        found = DIALECT.read(request)
    except InvalidRequest as error:
        refused = error
    assert orjson.dumps(request) == before
    if refused is None:
        assert orjson.dumps(found.params)
        return
    assert refused.status == 400
    assert refused.param is not None
    assert re.split(r"[.\[]", refused.param)[0] in request
