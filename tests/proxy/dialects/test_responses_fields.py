"""Properties of reading /responses: no field disappears, and nothing but an error of ours is
raised, whatever is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2o_relay.errors import RelayError
from h2o_relay_proxy.checks import check
from h2o_relay_proxy.dialects.responses import DIALECT

from .responses_kit import TOOL, called, result, thought, user

WORDS = {"type": "input_text", "text": "a"}
IMAGE = {"type": "input_image", "image_url": "data:x", "detail": "low"}
SAID = {"type": "output_text", "text": "a", "annotations": [], "logprobs": []}
FULL: dict[str, Any] = {
    "model": "m",
    "input": [
        {"type": "message", "role": "developer", "content": [WORDS]},
        user([WORDS, IMAGE, {"type": "input_file", "file_data": "x"},
              {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}]),
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
         "content": [SAID, {"type": "refusal", "refusal": "b"}]},
        thought("Hm."),
        called(),
        result(output=[IMAGE]),
    ],
    "instructions": "Be brief.",
    "include": ["message.output_text.logprobs"],
    "max_output_tokens": 9,
    "metadata": {"a": "b"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "stream": True,
    "stream_options": {"include_obfuscation": False},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
    "tools": [TOOL],
    "tool_choice": {"type": "allowed_tools", "mode": "auto",
                    "tools": [{"type": "function", "name": "look"}]},
    "top_logprobs": 2,
    "top_p": 0.5,
}  # fmt: skip
FREE = ("metadata", "schema", "parameters")
"""Objects whose keys are the caller's own."""


def fresh(request: Any) -> Any:
    """A copy that shares nothing, within itself neither."""
    return orjson.loads(orjson.dumps(request))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in a request."""
    yield path
    listed = value if isinstance(value, list) else ()
    for key, one in value.items() if isinstance(value, dict) else enumerate(listed):
        yield from places(one, (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


PLACES = list(places(FULL))
OBJECTS = [p for p in PLACES if isinstance(at(FULL, p), dict) and not {*p} & {*FREE}]
WORD = st.sampled_from(["message", "function", "reasoning", "item_reference", "user", "auto"])
NUMBER = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
KEY = st.text(max_size=5) | st.sampled_from(["type", "role", "content", "id", "name"])
JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBER | st.text(max_size=5) | WORD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=4),
    max_leaves=6,
)


def test_the_full_request_is_read_without_a_loss() -> None:
    assert DIALECT.read(fresh(FULL)).dropped == ()


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: ".".join(map(str, path)) or "top")
def test_a_field_that_nobody_knows_is_passed_on_or_named(path: tuple[Any, ...]) -> None:
    name = "zz_canary"
    request = fresh(FULL)
    at(request, path)[name] = "canary"
    exchanged = DIALECT.read(request)
    words = [key for key in path if isinstance(key, str)]
    passed_on = b'"zz_canary":"canary"' in orjson.dumps(exchanged.params)
    assert passed_on == (words in ([], ["input", "content", "input_audio"]))
    assert exchanged.dropped == (() if passed_on else (".".join([*words, name]),))


@given(st.sampled_from(PLACES[1:]), JUNK)
def test_whatever_stands_anywhere_is_read_or_refused(path: tuple[Any, ...], junk: Any) -> None:
    request = fresh(FULL)
    at(request, path[:-1])[path[-1]] = junk
    tried(request)


@given(st.dictionaries(st.sampled_from([*FULL, "store", "n", "previous_response_id"]), JUNK))
def test_whatever_is_sent_is_read_or_refused(request: dict[str, Any]) -> None:
    tried(request)


def tried(request: dict[str, Any]) -> None:
    """What is read is a good request of a chat; what is not says why."""
    before = fresh(request)
    assert not DIALECT.refers(request, "me")
    exchanged, refusal = None, None
    try:
        exchanged = DIALECT.read(request)
    except RelayError as error:
        refusal = error
    assert request == before
    if exchanged is not None:
        check("chat", exchanged.params)
    else:
        assert refusal is not None
        assert 400 <= refusal.status < 500
        assert refusal.message
