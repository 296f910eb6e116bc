"""One tree of errors, its table in the documentation, and what upstreams' refusals become."""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2o_relay import errors
from h2o_relay.errors import (
    BadServerString,
    ContextTooLong,
    MethodNotAllowed,
    RateLimited,
    RelayError,
    UpstreamAuthError,
    UpstreamBadResponse,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
    error_object,
    error_tree,
    from_error_object,
    from_response,
    redact,
)

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+?) \| `(\w+)` \| ([^|]+?) \|", re.MULTILINE)
TYPES = {
    400: "invalid_request_error", 401: "invalid_request_error", 403: "permission_error",
    404: "invalid_request_error", 429: "rate_limit_error", 500: "server_error",
    502: "upstream_error", 503: "overloaded_error", 504: "timeout_error",
}  # fmt: skip


def made(cls: type[RelayError]) -> RelayError:
    if cls is UpstreamRejected:
        return UpstreamRejected(422, {"message": "text", "type": "t", "param": "p", "code": "c"})
    if cls is MethodNotAllowed:
        return MethodNotAllowed("text", allow="GET")
    return cls("text")


def tree() -> list[Any]:
    return [cls for cls in error_tree() if cls.__module__ == errors.__name__]


def test_every_class_is_found() -> None:
    classes = [
        value for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, RelayError)
    ]  # fmt: skip
    assert set(tree()) == set(classes)
    assert tree()[0] is RelayError


@pytest.mark.parametrize("cls", tree())
def test_every_class_says_what_it_is_answered_as(cls: type[RelayError]) -> None:
    error = made(cls)
    assert 400 <= error.status <= 599
    assert cls.__doc__, "when it happens"
    body = orjson.loads(error.encoded())
    assert list(body["error"]) == ["message", "type", "param", "code"]
    assert body == error.body()
    assert body["error"]["code"]
    if cls is not UpstreamRejected:
        expected = TYPES.get(error.status, "invalid_request_error")
        assert error.type == body["error"]["type"] == expected


def test_the_documented_table_is_the_tree() -> None:
    rows = {
        name: (status, kind, code) for name, status, kind, code in ROW.findall(PAGE.read_text())
    }
    expected = {}
    for cls in tree():
        own = cls is not UpstreamRejected
        status = str(cls.status) if own else "the upstream's"
        code = f"`{cls.code}`" if own else "the upstream's"
        expected[cls.__name__] = (status, cls.type, code)
    assert rows == expected


def test_the_tree_in_the_docstring() -> None:
    assert errors.__doc__
    names = re.findall(r"^ {4}[│├└─ ]*(\w+) ", errors.__doc__, re.MULTILINE)
    assert set(names) == {cls.__name__ for cls in tree()}
    codes = {cls.code for cls in tree() if cls.code}
    assert codes <= set(re.findall(r"\w+", errors.__doc__))


def test_what_an_error_may_be_given() -> None:
    error = RelayError("m", param="a.b", code="c", retry_after=3.0)
    assert error.body()["error"] == {
        "message": "m", "type": "server_error", "param": "a.b", "code": "c",
    }  # fmt: skip
    assert error.retry_after == 3.0
    assert RelayError.code == "internal_error"


def test_a_lone_surrogate_can_be_sent() -> None:
    assert orjson.loads(RelayError("a\ud800b").encoded())["error"]["message"] == "a?b"


def test_a_server_string_error_names_its_place() -> None:
    error = BadServerString("it is bad", shown="x:***", column=3, example="x:y")
    assert str(error) == "server string 'x:***' (column 3): it is bad. Example: x:y"
    assert (error.reason, error.status) == ("it is bad", 400)


@pytest.mark.parametrize("status", range(400, 600))
def test_every_status(status: int) -> None:
    body = orjson.dumps({"error": {"message": "why", "type": "t", "param": "p", "code": "c"}})
    error = from_response(status, body, retry_after=7)
    special = {
        401: (UpstreamAuthError, 502), 403: (UpstreamAuthError, 502), 408: (UpstreamTimeout, 504),
        429: (RateLimited, 429), 503: (UpstreamUnavailable, 503), 504: (UpstreamTimeout, 504),
        529: (UpstreamUnavailable, 503),
    }  # fmt: skip
    default = (UpstreamRejected, status) if status < 500 else (UpstreamBadResponse, 502)
    assert (type(error), error.status) == special.get(status, default)
    if type(error) is UpstreamRejected:
        assert error.body() == orjson.loads(body)
    else:
        assert error.body()["error"]["type"] == TYPES[error.status]
    assert error.retry_after == (7 if status in (429, 503, 529) else None)


SHAPES = [
    ({"error": {"message": "why", "code": "c"}}, "why"),
    ({"error": "why", "error_type": "validation"}, "why"),
    ({"object": "error", "message": "why", "type": "t", "param": None, "code": 1}, "why"),
    ({"detail": "why"}, "why"),
    ({"detail": [{"loc": ["body"], "msg": "why"}]}, '[{"loc":["body"],"msg":"why"}]'),
    ({"message": "why"}, "why"),
    ({"error": None, "message": "why"}, "why"),
]


@pytest.mark.parametrize(("body", "message"), SHAPES)
def test_known_shapes(body: Any, message: str) -> None:
    encoded = orjson.dumps(body)
    assert error_object(encoded)["message"] == message
    assert from_response(422, encoded).message == message


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"\xff", b"[]", b"5", b"null", b"{}", b'{"a":1}', b'{"error":5}',
        b'{"error":{}}', b'{"error":{"message":5}}',
    ],
)  # fmt: skip
def test_unknown_shapes(body: bytes) -> None:
    error = from_response(400, body)
    assert error.status == 400
    assert "without saying why" in error.message
    assert error.body()["error"]["type"] == "invalid_request_error"


def test_a_context_that_is_too_long() -> None:
    body = {"error": {"message": "m", "code": "context_length_exceeded", "param": "messages"}}
    error = from_response(400, orjson.dumps(body))
    assert (type(error), error.param, error.status) == (ContextTooLong, "messages", 400)
    assert type(from_error_object(body["error"])) is ContextTooLong


def test_a_context_that_is_too_long_for_llama_cpp() -> None:
    """Its `code` is the status that it answers with, whether there still is one or not."""
    said = {"code": 400, "message": "too long", "type": "exceed_context_size_error", "n_ctx": 9}
    for error in (from_response(400, orjson.dumps({"error": said})), from_error_object(said)):
        assert type(error) is ContextTooLong
        assert error.body()["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529, 599])
def test_what_a_server_says_of_its_failure_within_an_answer(status: int) -> None:
    """As vLLM says it in a stream; of an answer with that status only the status is told."""
    said = {"message": "KV cache of sk-12345 is lost", "type": "InternalServerError"}
    plain = from_response(status, orjson.dumps({"error": said}))
    for place in ("code", "status"):
        error = from_error_object({**said, place: status}, secret="sk-12345")
        assert (type(error), error.status) == (type(plain), plain.status)
        assert error.message == f"{plain.message}: KV cache of *** is lost"
        assert "KV cache" not in plain.message
    for message in ("", None, 5):
        assert from_error_object({"message": message, "code": status}).message == plain.message
    long = from_error_object({"message": "x" * 1995 + "sk-12345", "code": status}, "sk-12345")
    assert long.message == f"{plain.message}: {'x' * 1995}***"
    assert from_error_object({"message": "x" * 9000, "code": status}).message.count("x") == 2000


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, UpstreamAuthError), (408, UpstreamTimeout), (422, UpstreamRejected), (429, RateLimited)],
)
def test_a_refusal_within_an_answer_is_the_one_of_its_status(status: int, kind: type) -> None:
    error = from_error_object({"message": "why, sk-12345", "code": status}, secret="sk-12345")
    body = orjson.dumps({"error": {"message": "why, ***", "code": status}})
    assert type(error) is kind
    assert error.body() == from_response(status, body).body()


def test_odd_types_become_text() -> None:
    body = {"error": {"message": "m", "code": 17, "param": ["a", 1], "type": {"a": 1}}}
    error = from_response(400, orjson.dumps(body)).body()["error"]
    assert error == {"message": "m", "code": "17", "param": "['a', 1]", "type": "{'a': 1}"}


def test_a_long_message_is_cut() -> None:
    assert len(from_response(400, orjson.dumps({"error": "x" * 10_000})).message) == 2000


LETTERS = "".join(chr(code) for code in range(33, 127) if chr(code) not in "\"'\\")
KEYS = st.text(LETTERS, min_size=6, max_size=40).map("sk-{}".format)


@given(key=KEYS, status=st.integers(400, 599))
def test_our_key_is_cut_out_wherever_it_is(key: str, status: int) -> None:
    places: list[Any] = [
        {"error": {"message": f"a {key}.", "type": key, "param": key, "code": key}},
        {"error": {"message": "a", "param": {"headers": [f"Bearer {key}"]}, "code": [key]}},
        {"error": f"no {key}"},
        {"detail": [{"input": key, "msg": key}]},
        {"object": "error", "message": key},
    ]
    for place in places:
        error = from_response(status, orjson.dumps(place), secret=key)
        shown = f"{error} {error!r} {error.encoded().decode()}"
        assert key not in shown


def test_redact_leaves_the_rest() -> None:
    error = {"message": "a KEY1 b", "code": 5, "param": None, "list": ["KEY1", {"x": "KEY1"}]}
    assert redact(error, "KEY1") == {
        "message": "a *** b", "code": 5, "param": None, "list": ["***", {"x": "***"}],
    }  # fmt: skip
    assert redact(error, None) == error
    assert redact(error, "") == error
    assert redact({"message": "a b c"}, "b") == {"message": "a b c"}, "too short to be a key"


def test_what_else_an_upstream_says_is_passed_on() -> None:
    inner = {"code": "ResponsibleAIPolicyViolation"}
    said = {"message": "m", "type": None, "param": "prompt", "code": "content_filter"}
    body = orjson.dumps({"error": {**said, "innererror": inner, "status": 400}})
    assert from_response(400, body).body() == {
        "error": {**said, "type": "invalid_request_error", "innererror": inner, "status": 400}
    }
    deep = orjson.dumps({"error": {"message": "m", "innererror": {"key": "sk-our-own-key"}}})
    assert b"sk-our-own-key" not in from_response(400, deep, secret="sk-our-own-key").encoded()
