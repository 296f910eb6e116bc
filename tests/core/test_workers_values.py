"""What processes say to each other arrives as it was said, and nothing else can be said."""

from __future__ import annotations

import math
import re
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2o_relay.accounting.caller import Allowance, Caller
from h2o_relay.accounting.prices import Price, Prices
from h2o_relay.errors import ContextTooLong
from h2o_relay.testing.settings import quick
from h2o_relay.types import ALL, Capabilities, Server
from h2o_relay.workers.values import dumped, loaded

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.binary(),
    st.text(st.characters(exclude_categories=())),
)  # fmt: skip
KEYS = st.one_of(st.text(), st.integers(), st.tuples(st.integers(), st.text()))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(KEYS, inner),
        st.frozensets(KEYS), st.sets(KEYS),
    ),
    max_leaves=20,
)  # fmt: skip


@given(VALUES)
def test_plain_values_come_as_they_are(value: Any) -> None:
    again = loaded(dumped(value))
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        Server(plugin="vllm", url="http://h/v1", key="secret", headers={"a": "b"}),
        Capabilities(kinds=frozenset({"chat"}), fields=ALL),
        Caller(id="key_1", allowance=Allowance(models=("a*",), budget=math.inf)),
        Prices({"a*": Price(input=1.0, output=2.0)}),
        quick(api_key="k", save_dir="/x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_objects_of_the_relay_come_as_they_are(value: Any) -> None:
    again = loaded(dumped(value))
    assert again == value
    assert type(again) is type(value)


def test_there_is_one_set_of_all_fields() -> None:
    assert loaded(dumped(ALL)) is ALL


def test_an_error_comes_with_all_that_it_has() -> None:
    error = ContextTooLong("too long", param="messages", retry_after=2.5)
    again = loaded(dumped(error))
    assert (again.body(), again.status, again.retry_after) == (error.body(), 400, 2.5)
    assert str(again) == str(error)


@pytest.mark.parametrize("value", [threading.Lock(), object(), re, lambda: 1, [threading.Lock()]])
def test_what_is_not_ours_cannot_be_said(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be said"):
        dumped(value)


@pytest.mark.parametrize(
    "data", [b'["o","os:system"]', b'["n","subprocess:Popen"]', b'["o","h2o_relay.settings:os"]']
)
def test_nothing_else_is_made(data: bytes) -> None:
    with pytest.raises(ValueError, match="no class"):
        loaded(data)
