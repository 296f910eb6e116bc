"""Models, errors and counts of tokens in the shape of Anthropic's API."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from anthropic.types import ErrorResponse, ModelInfo
from hypothesis import given
from hypothesis import strategies as st

from h2o_relay.errors import (
    ContextTooLong,
    InvalidRequest,
    RelayError,
    UpstreamRejected,
    error_tree,
)
from h2o_relay.types import Deployment, Server
from h2o_relay_proxy.dialects.messages import DIALECT, count_body, read_count
from h2o_relay_proxy.dialects.messages.listing import listed, one

from .messages_blocks import LOOK, LOOK_FUNCTION
from .messages_kit import USER, asked

SERVER = Server(plugin="vllm")


def models(count: int) -> list[Deployment]:
    return [Deployment(name=f"org/m{n}", server=SERVER, model="m") for n in range(count)]


def page(count: int, query: str = "") -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(listed(models(count), query))
    return found


def names(found: dict[str, Any]) -> list[int]:
    return [int(entry["id"].removeprefix("org/m")) for entry in found["data"]]


def test_one_model() -> None:
    model = Deployment(name="a", server=SERVER, model="m", max_context=4096, created=1_700_000_000)
    info = ModelInfo.model_validate_json(one(model))
    assert (info.id, info.display_name, info.lifecycle) == ("a", "a", "active")
    assert info.created_at.isoformat() == "2023-11-14T22:13:20+00:00"
    assert info.max_input_tokens == 4096


def test_the_list() -> None:
    found = page(3)
    assert names(found) == [0, 1, 2]
    assert (found["has_more"], found["first_id"], found["last_id"]) == (False, "org/m0", "org/m2")
    assert page(0) == {"data": [], "has_more": False, "first_id": None, "last_id": None}
    assert len(page(25)["data"]) == 20


@pytest.mark.parametrize(
    ("query", "expected", "more"),
    [
        ("limit=2", [0, 1], True),
        ("limit=2&after_id=org/m1", [2, 3], True),
        ("limit=2&after_id=org%2Fm3", [4], False),
        ("after_id=org/m4", [], False),
        ("limit=2&before_id=org/m3", [1, 2], True),
        ("limit=2&before_id=org/m1", [0], False),
        ("lifecycle=active&beta=true", [0, 1, 2, 3, 4], False),
        ("lifecycle%5B%5D=retired", [], False),
    ],
)
def test_pages(query: str, expected: list[int], more: bool) -> None:
    found = page(5, query)
    assert (names(found), found["has_more"]) == (expected, more)


@given(count=st.integers(0, 30), limit=st.integers(1, 9))
def test_pages_are_the_list_in_either_direction(count: int, limit: int) -> None:
    onward, query = [], f"limit={limit}"
    while True:
        found = page(count, query)
        onward += names(found)
        if not found["has_more"]:
            break
        query = f"limit={limit}&after_id={found['last_id']}"
    assert onward == list(range(count))
    back, first = onward[-1:], onward[-1] if onward else 0
    while first > 0:
        found = page(count, f"limit={limit}&before_id=org/m{first}")
        back = names(found) + back
        first = back[0]
        assert found["has_more"] is (first > 0)
    assert back == onward


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=²", "limit"),
        ("after_id=nobody", "after_id"),
        ("before_id=", "before_id"),
        ("after_id=org/m1&before_id=org/m2", "before_id"),
        ("lifecycle=new", "lifecycle"),
    ],
)
def test_bad_queries(query: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        page(3, query)
    assert caught.value.param == param


KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
    404: "not_found_error", 405: "invalid_request_error", 408: "invalid_request_error",
    413: "request_too_large", 414: "invalid_request_error", 415: "invalid_request_error",
    429: "rate_limit_error", 431: "invalid_request_error", 500: "api_error", 502: "api_error",
    503: "overloaded_error", 504: "timeout_error",
}  # fmt: skip


@pytest.mark.parametrize("kind", error_tree(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_type(kind: type[RelayError]) -> None:
    error = RelayError("It is so.")
    error.status = kind.status
    body = orjson.loads(DIALECT.error(error, "req-1"))
    assert body == {
        "type": "error", "request_id": "req-1",
        "error": {"type": KINDS[kind.status], "message": "It is so."},
    }  # fmt: skip
    if body["error"]["type"] != "request_too_large":  # of Anthropic's guide, not of its SDK's types
        assert ErrorResponse.model_validate(body).error.type == body["error"]["type"]


def test_an_upstreams_own_refusal() -> None:
    body = orjson.loads(DIALECT.error(UpstreamRejected(422, {"message": "No."}), "r"))
    assert body["error"] == {"type": "invalid_request_error", "message": "No."}


def test_a_conversation_that_is_too_long_is_told_as_anthropic_does() -> None:
    body = orjson.loads(DIALECT.error(ContextTooLong("It has 9 tokens."), "r"))
    assert body["error"]["message"] == "prompt is too long: It has 9 tokens."


def test_a_lone_surrogate_in_a_message() -> None:
    body = orjson.loads(DIALECT.error(RelayError("a\ud800b"), "r"))
    assert body["error"]["message"] == "a?b"


def test_a_request_to_be_counted() -> None:
    fields = asked(max_tokens=None, system="Be brief.", tools=[LOOK], stream=True)
    assert read_count(fields)[0] == {
        "model": "m", "tools": [LOOK_FUNCTION],
        "messages": [{"role": "system", "content": "Be brief."}, *USER],
    }  # fmt: skip
    with pytest.raises(InvalidRequest):
        read_count({"messages": []})
    assert orjson.loads(count_body(7)) == {"input_tokens": 7}
    assert orjson.loads(count_body(7, estimated=True))["estimated"] is True
