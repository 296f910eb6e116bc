"""Putting another model's name into a body changes nothing else."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2o_relay.splice import with_model

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TRICKS = st.sampled_from(
    ["model", '"model": "x"', '{"model":"a"}', '\\"model\\": \\"x\\"', 'a", "model": "b', "\\"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False,
    allow_infinity=False) | TEXTS | TRICKS,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(TEXTS | TRICKS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
PARAMS = st.dictionaries(TEXTS | TRICKS, VALUES, max_size=4)
NAMES = TEXTS | TRICKS


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A JSON object in one of the ways of writing it down."""
    params = draw(PARAMS)
    if draw(st.booleans()):
        params = {**params, "model": draw(NAMES | VALUES)}
    indent = draw(st.sampled_from([None, 0, 2]))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:  ")]))
    text = json.dumps(
        params, ensure_ascii=draw(st.booleans()), indent=indent, separators=separators
    )
    return f"{draw(st.sampled_from(['', ' ', chr(10)]))}{text} ".encode()


@given(body=bodies(), name=NAMES)
def test_the_result_is_the_same_but_for_the_model(body: bytes, name: str) -> None:
    params = orjson.loads(body)
    result = with_model(body, params, name)
    assert orjson.loads(result) == {**params, "model": name}


PLAIN = st.dictionaries(st.text("abcdefgh", min_size=1), VALUES, max_size=4)


@given(before=PLAIN, after=PLAIN, old=TEXTS, new=TEXTS)
def test_a_plain_model_is_spliced(
    before: dict[str, Any], after: dict[str, Any], old: str, new: str
) -> None:
    """What stands before and behind the value keeps its bytes."""
    after = {f"{name}_": value for name, value in after.items()}
    left = json.dumps({**before, "model": ""}, indent=1)[:-4]
    right = json.dumps({"": 0, **after}, separators=(" , ", " :"))[6:].lstrip()
    value = json.dumps(old)
    body = f"{left}{value}{right}".encode()
    params = orjson.loads(body)
    result = with_model(body, params, new)
    if json.dumps(params, ensure_ascii=False).count("model") > 1:
        assert orjson.loads(result) == {**params, "model": new}
    else:
        assert result == left.encode() + orjson.dumps(new) + right.encode()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model": "a", "x": 1.0}', b'{"model": "b\\"", "x": 1.0}'),
        (b'{"x":1e2,"model" :\n"a"}', b'{"x":1e2,"model" :\n"b\\""}'),
        (b'{"model":"\\u0061\\"", "x":"\\u00e9"}', b'{"model":"b\\"", "x":"\\u00e9"}'),
        (b'{"messages":[{"content":"\\"model\\": \\"q\\""}],"model":"a" }',
         b'{"messages":[{"content":"\\"model\\": \\"q\\""}],"model":"b\\"" }'),
        (b'{"x": 12345678901234567890}', b'{"model":"b\\"","x": 12345678901234567890}'),
        (b"  { }", b'{"model":"b\\"" }'),
        (b"{}", b'{"model":"b\\""}'),
    ],
)  # fmt: skip
def test_bytes_outside_the_value_stay(body: bytes, expected: bytes) -> None:
    assert with_model(body, orjson.loads(body), 'b"') == expected


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "a", "x": {"model": "c"}}',
        b'{"x": {"model": "c"}, "model": "a"}',
        b'{"x": {"model": "c"}}',
        b'{"model": null, "x": {"model": "c"}}',
        b'{"model": 5}',
        b'{"model": null}',
        b'{"mod\\u0065l": "a", "x": [{"model": "c"}]}',
        b'{"mod\\u0065l": "a"}',
        b'{"model": "a", "model": "c"}',
    ],
)
def test_where_a_splice_is_not_possible(body: bytes) -> None:
    params = orjson.loads(body)
    assert orjson.loads(with_model(body, params, "b")) == {**params, "model": "b"}
