"""`${env.NAME}`: what is put in, what is left alone, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2o_relay.config.problems import Problems
from h2o_relay.config.references import BadReference, escaped, fill, filled

ENV = {"A": "one", "EMPTY": "", "N": "5", "NESTED": "${env.A}", "_x9": "low", "T": "true"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ""), ("plain", "plain"), ("${env.A}", "one"), ("a${env.A}b${env.N}", "aoneb5"),
        ("${env._x9}", "low"), ("${env.EMPTY}", ""), ("${env.EMPTY:-d}", "d"),
        ("${env.NO:-d}", "d"), ("${env.NO:-}", ""), ("${env.A:-d}", "one"),
        ("${env.NO:-http://h:1/v1?a=b c}", "http://h:1/v1?a=b c"), ("${env.NO:-a:-b}", "a:-b"),
        ("$${env.A}", "${env.A}"), ("$$${env.A}", "$${env.A}"), ("$", "$"), ("$$", "$$"),
        ("$A {env.A} }", "$A {env.A} }"), ("{{ x }}", "{{ x }}"),
        ("${env.NESTED}", "${env.A}"),
    ],
)  # fmt: skip
def test_what_is_put_in(text: str, value: str) -> None:
    assert fill(text, ENV) == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("${env.NO}", "the environment variable NO is not set; ${env.NO:-default} has a default"),
        ("x${env.A", "a ${ without its }; $${ writes ${ itself"),
        ("${A}", "${A} is no reference; write ${env.NAME} or ${env.NAME:-default}"),
        ("pass${SECRET}word", "a ${...} here is no reference; write ${env.NAME}"),
        ("${env.9A}", "${env.9A} is no reference"),
        ("${env.}", "${env.} is no reference"),
        ("${}", "${} is no reference"),
        ("${env.A:?x}", "${env.A:?x} is no reference"),
        ("${env.NO:-${env.A}}", "a reference inside of a reference"),
        ("${env.${env.A}}", "a reference inside of a reference"),
        ("${env.NO:-$A}", "a reference inside of a reference"),
        ("${env.NO:-{}", "a reference inside of a reference"),
    ],
)
def test_what_is_refused(text: str, told: str) -> None:
    with pytest.raises(BadReference) as caught:
        fill(text, ENV)
    assert str(caught.value).startswith(told)


@given(st.text(alphabet="$${}aenv.:-A \n"))
def test_what_is_escaped_is_read_as_it_was(text: str) -> None:
    assert fill(escaped(text), {}) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("${env.N}", 5), ("${env.T}", True), ("${env.NO:-1.5}", 1.5), ("${env.A}", "one"),
     (" ${env.N}", " 5"), ("${env.N}${env.N}", "55"), ("5", "5")],
)  # fmt: skip
def test_a_whole_reference_may_be_a_number(text: str, value: Any) -> None:
    problems = Problems()
    found = filled({"n": text, "t": [text]}, ("p",), ENV, lambda path: path[-1] == "n", problems)
    assert found["n"] == value
    assert type(found["n"]) is type(value)
    assert found["t"] == [fill(text, ENV)]
    assert not problems.found


def test_every_mistake_is_told_and_keys_are_left_alone() -> None:
    problems = Problems({("p", "a"): 3, ("p", "b"): 4})
    data = {"a": "${env.NO}", "b": ["x", {"${env.A}": "${x}"}], "c": 5}
    found = filled(data, ("p",), ENV, lambda _: False, problems)
    assert found == {"a": None, "b": ["x", {"${env.A}": None}], "c": 5}
    assert [(p.path, p.line) for p in problems.found] == [("p.a", 3), ("p.b[1].${env.A}", 4)]


def test_too_many_digits() -> None:
    problems = Problems()
    assert filled("${env.X}", ("p",), {"X": "1" * 9999}, lambda _: True, problems) is None
    assert [p.reason for p in problems.found] == ["a number with too many digits"]
