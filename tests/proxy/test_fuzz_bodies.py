"""Bodies that nobody would write: whatever is in one, reading it ends soon, takes memory in
proportion, and raises nothing but the errors that callers are told.
"""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from h2o_relay.errors import InvalidRequest
from h2o_relay_proxy.body import decode
from h2o_relay_proxy.checking import INT64
from h2o_relay_proxy.checks import CHAT, EMBEDDINGS, TEXT, check, check_embeddings
from h2o_relay_proxy.dialects import messages, responses
from h2o_relay_proxy.path_checks import PATHS, check_path

from .mutating import spoiled

Read = Callable[[dict[str, Any]], object]
LONGEST = 2.0
"""Seconds of this thread for one body; most take less than a millisecond."""
PER_BYTE, BASE = 200, 2**20
"""Bytes of memory for one of a body: an empty list is 56 and takes two."""
READERS: Mapping[str, Read] = {
    "chat": lambda params: check("chat", params),
    "text": lambda params: check("text", params),
    "embeddings": check_embeddings,
    "messages": messages.DIALECT.read,
    "count_tokens": messages.read_count,
    "responses": responses.DIALECT.read,
    **{path: lambda params, path=path: check_path(path, params) for path in PATHS},
}
PARTS: list[Any] = [
    {"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
    {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
    {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "x"}]},
    {"type": "input_text", "text": "hi"}, {"type": "input_image", "image_url": "data:image/png,x"},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
]  # fmt: skip
TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object"}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SEEDS: list[dict[str, Any]] = [
    {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True, "n": 2,
     "temperature": 0.5, "stop": ["a", "b"], "logit_bias": {"1": -100}, "max_tokens": 5,
     "stream_options": {"include_usage": True}, "seed": -1, "user": "u", "top_logprobs": 2},
    {"model": 0, "messages": [{"role": "user", "content": PARTS[:2]},
     {"role": "assistant", "content": None, "tool_calls": [CALL]},
     {"role": "tool", "tool_call_id": "c", "content": "é\u2028"}],
     "tools": [{"type": "function", "function": TOOL}], "tool_choice": "auto"},
    {"model": "m", "prompt": [[1, 2], [3]], "echo": True, "logprobs": 1},
    {"model": "m", "input": ["a", "b"], "dimensions": 3, "encoding_format": "float"},
    {"model": "m", "max_tokens": 5, "system": [{"type": "text", "text": "s"}], "tools": [TOOL],
     "messages": [{"role": "user", "content": PARTS[:1]}, {"role": "assistant",
     "content": [PARTS[2]]}, {"role": "user", "content": [PARTS[3], PARTS[6]]}],
     "tool_choice": {"type": "tool", "name": "f"}, "stop_sequences": ["x"], "top_k": 3,
     "thinking": {"type": "enabled", "budget_tokens": 1024}, "metadata": {"user_id": "u"}},
    {"model": "m", "instructions": "i", "max_output_tokens": 9, "input": [
     {"role": "user", "content": PARTS[4:6]},
     {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
     {"type": "function_call_output", "call_id": "c", "output": "x"}],
     "tools": [{"type": "function", "name": "f", "parameters": {}}], "reasoning": {"effort": "low"},
     "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}}, "include": []},
    {"query": "q", "documents": ["a", {"text": "b"}], "top_n": 1, "tokens": [1], "input": "x",
     "voice": "v", "prompt": "p", "text_1": "a", "text_2": ["b"]},
]  # fmt: skip
BODIES = [orjson.dumps(seed) for seed in SEEDS]
NAMES = sorted({*CHAT, *TEXT, *EMBEDDINGS, *(name for seed in SEEDS for name in seed)})
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(["", "user", "assistant", "tool", "text", "auto", "x", *PARTS]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(
        st.sampled_from(["type", "text", "role", "content", "name", "id", "input", "url", "output"])
        | st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip
REQUESTS = st.builds(
    lambda seed, changes: {**seed, **changes},
    st.sampled_from(SEEDS),
    st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), JSON_VALUES, max_size=6),
)
"""Real requests of which some fields say something else, of any type."""


def tried(read: Read, params: dict[str, Any]) -> None:
    """InvalidRequest is the only error, and can be told."""
    start = time.thread_time()
    try:
        read(params)
    except InvalidRequest as error:
        orjson.loads(error.encoded())
    assert time.thread_time() - start < LONGEST


def decoded(body: bytes) -> dict[str, Any] | None:
    start = time.thread_time()
    try:
        return decode(body)
    except InvalidRequest as error:
        orjson.loads(error.encoded())
        return None
    finally:
        assert time.thread_time() - start < LONGEST


def strict(value: Any) -> Any:
    """As a reader of JSON could have it: numbers are finite, and whole ones of 64 bits."""
    if isinstance(value, float):
        return value if math.isfinite(value) else 0.5
    if type(value) is int:
        return max(INT64[0], min(value, INT64[1]))
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {strict(key): strict(item) for key, item in value.items()}
    return [strict(item) for item in value] if isinstance(value, list) else value


def fuzz_bytes(count: int, seed: int) -> int:
    """Decode and read spoiled bodies; how many of them were JSON still."""
    whole = 0
    for body in spoiled(BODIES, count, seed):
        params = decoded(body)
        if params is not None:
            whole += 1
            for read in READERS.values():
                tried(read, params)
    return whole


def test_spoiled_bodies() -> None:
    assert fuzz_bytes(10_000, seed=1) > 1000


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_spoiled_bodies_for_long() -> None:
    assert fuzz_bytes(400_000, seed=2) > 40_000


def test_memory_is_in_proportion() -> None:
    tracemalloc.start()
    try:
        for body in [
            *spoiled(BODIES, 300, seed=3),
            b'{"a":[' + b"[]," * 90_000 + b"1]}",
            b'{"a":[' + b"1," * 250_000 + b"1]}",
            b"[" * 100_000,
            b'{"a":"' + b"[{" * 100_000 + b'"}',
            b'{"a":' * 60 + b'"' + b"\\u00e9" * 100_000 + b'"' + b"}" * 60,
        ]:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            decoded(body)
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < PER_BYTE * len(body) + BASE, body[:60]
    finally:
        tracemalloc.stop()


HEAD = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"x":'
LARGE: dict[str, tuple[bytes, str | None]] = {
    "many keys": (
        b"{" + b",".join(b'"%d" : 1' % n for n in range(10**6)) + b"}}", "array_too_long"),
    "many items": (b"[" + b"1," * 7_000_000 + b"1]}", "array_too_long"),
    "many long arrays": (b"[" + (b"[" + b"1," * 200_000 + b"1],") * 35 + b"1]}", "array_too_long"),
    "many objects": (b"[" + b'{"a":1,"b":2},' * 90_000 + b"1]}", None),
    "too many objects": (b"[" + b'{"a":1,"b":2},' * 101_000 + b"1]}", "array_too_long"),
    "many strings": (b"[" + b'"",' * 5_000_000 + b"1]}", "array_too_long"),
    "signs in a text": (b'"' + b'\\"a\\": {[, ' * 1_000_000 + b'"}', None),
    "backslashes": (b'"' + b"\\" * 14_000_000 + b'"}', None),
    "quotes": (b'"' * 14_000_000, "array_too_long"),
    "a string without an end": (b"[" * 100_001 + b'"' + b'\\"' * 7_000_000, "nesting_too_deep"),
    "colons without an end": (b'"' + b":" * 300_000 + b'\\"' * 7_000_000, "invalid_json"),
    "keys that stand twice": (
        b"{" + b",".join(b'"%d":1' % n for n in range(200_000)) + b',"0":1}}', "invalid_json"),
}  # fmt: skip
"""Up to 16 MiB, each made so that something about it takes long; the code of what is refused."""


@pytest.mark.parametrize("name", LARGE)
def test_large_bodies_hold_nobody_up(name: str) -> None:
    rest, code = LARGE[name]
    start, found = time.thread_time(), None
    try:
        decode(HEAD + rest)
    except InvalidRequest as error:
        found = error.code
    assert found == code
    assert time.thread_time() - start < LONGEST


QUIET = {"deadline": None, "derandomize": True, "database": None,
         "suppress_health_check": list(HealthCheck)}  # fmt: skip


def read_all(request: dict[str, Any]) -> None:
    body = orjson.dumps(strict(request))
    params = decoded(body)
    if params is not None:
        for read in READERS.values():
            tried(read, params)


@settings(max_examples=300, **QUIET)
@given(REQUESTS)
def test_fields_of_any_type(request: dict[str, Any]) -> None:
    read_all(request)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=6_000, **QUIET)
@given(REQUESTS)
def test_fields_of_any_type_for_long(request: dict[str, Any]) -> None:
    read_all(request)
