"""What is checked of every stream: shapes, errors inside it, and that it really ended."""

from typing import Any

import orjson
import pytest

from h2o_relay.chunks import Chunk
from h2o_relay.errors import (
    ContextTooLong,
    RateLimited,
    UpstreamAuthError,
    UpstreamBadResponse,
    UpstreamIncomplete,
    UpstreamRejected,
    UpstreamUnavailable,
)
from h2o_relay.guard import Guard, expected_choices

SECRET = "sk-0123456789"


def chunk(*events: Any) -> Chunk:
    return Chunk(b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events))


def chat(finish: str | None = None, index: int = 0, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def guard(kind: Any = "chat", **params: Any) -> Guard:
    return Guard(kind, params, SECRET)


def test_a_whole_answer() -> None:
    watching = guard()
    usage = {"choices": [], "usage": {"total_tokens": 3}}
    for event in (chat(role="assistant"), chat(content="a"), chat("stop"), usage):
        assert watching.check(chunk(event)) is None
    assert watching.end() is None


@pytest.mark.parametrize(
    "event",
    [
        chat(content=None),
        chat(content=[{"type": "text", "text": "a"}]),
        {"choices": [{"delta": None, "index": 0}]},
        {"choices": [{"delta": {}, "index": None}]},
        {"choices": [{}]},
        {"choices": [], "prompt_filter_results": []},
        {"error": None, "choices": []},
    ],
)
def test_shapes_that_pass(event: Any) -> None:
    assert guard().check(chunk(event)) is None


@pytest.mark.parametrize(
    "event",
    [
        [], "a", 5, None, {}, {"choices": None}, {"choices": {}}, {"choices": ["a"]},
        {"choices": [None]}, {"choices": [{"delta": "a"}]}, {"choices": [{"delta": []}]},
        {"choices": [{"delta": {"content": 5}}]}, {"choices": [{"delta": {"content": {}}}]},
        {"choices": [{"delta": {}, "index": "0", "finish_reason": "stop"}]},
        {"choices": [{"delta": {}, "index": [], "finish_reason": "stop"}]},
    ],
)  # fmt: skip
def test_wrong_shapes(event: Any) -> None:
    wrong = guard().check(chunk(chat(content="a"), event))
    assert type(wrong) is UpstreamBadResponse


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"NaN", b'{"choices":[]} x', b"[DONE]!"])
def test_what_is_not_json(payload: bytes) -> None:
    broken = Chunk(chunk(chat(content="a")).raw + b"data: " + payload + b"\n\n")
    watching = guard()
    assert type(watching.check(broken)) is UpstreamBadResponse
    good = watching.good_part(broken)
    assert good is not None
    assert good.text == "a"


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (
            {"error": {"message": "no", "type": "x", "param": None, "code": None}},
            UpstreamBadResponse,
        ),
        ({"error": {"message": "no", "type": "server_error", "code": "x"}}, UpstreamBadResponse),
        ({"error": {"message": "no", "type": "BadRequestError", "code": 400}}, UpstreamRejected),
        ({"error": {"code": 503, "message": "Loading", "type": "x"}}, UpstreamUnavailable),
        ({"error": {"message": "no", "status": 401}}, UpstreamAuthError),
        ({"error": {"message": "no", "code": 429}}, RateLimited),
        ({"error": {"message": "no", "type": "rate_limit_error"}}, RateLimited),
        ({"error": {"message": "no", "code": "context_length_exceeded"}}, ContextTooLong),
        ({"error": "no", "error_type": "overloaded"}, UpstreamBadResponse),
        ({"error": ["no"]}, UpstreamBadResponse),
        ({"error": {"message": "no"}, "choices": []}, UpstreamBadResponse),
        ({"object": "error", "message": "no", "code": 400}, UpstreamRejected),
        ({"object": "error", "message": "no", "code": 40303}, UpstreamBadResponse),
    ],
)
def test_errors_inside_a_stream(event: Any, kind: type) -> None:
    watching = guard()
    wrong = watching.check(chunk(chat(content="a"), event, chat(content="b")))
    assert type(wrong) is kind
    good = watching.good_part(chunk(chat(content="a"), event, chat(content="b")))
    assert good is not None
    assert good.raw == chunk(chat(content="a")).raw


def test_an_error_does_not_repeat_our_key() -> None:
    for error in (f"bad key {SECRET}", {"message": f"bad key {SECRET}", "code": 400}):
        wrong = guard().check(chunk({"error": error}))
        assert wrong is not None
        assert "bad key ***" in str(wrong)
        assert SECRET not in str(wrong.body())


def test_no_good_part() -> None:
    assert guard().good_part(chunk({"error": "no"}, chat(content="a"))) is None


@pytest.mark.parametrize(
    ("kind", "params", "count"),
    [
        ("chat", {}, 1),
        ("chat", {"n": None}, 1),
        ("chat", {"n": 3}, 3),
        ("chat", {"n": 2, "prompt": ["a", "b"]}, 2),
        ("text", {"prompt": "a"}, 1),
        ("text", {"prompt": ["a", "b"]}, 2),
        ("text", {"prompt": ["a", "b"], "n": 2}, 4),
        ("text", {"prompt": [1, 2, 3]}, 1),
        ("text", {"prompt": [[1, 2], [3]], "n": 3}, 6),
        ("text", {"prompt": []}, 1),
        ("chat", {"n": "three"}, 1),
        ("chat", {"n": 0}, 1),
    ],
)
def test_expected_choices(kind: Any, params: dict[str, Any], count: int) -> None:
    assert expected_choices(kind, params) == count
    watching = Guard(kind, params, None)
    body = "delta" if kind == "chat" else "text"
    for index in range(count):
        assert isinstance(watching.end(), UpstreamIncomplete), index
        choice = {"index": index, body: {} if kind == "chat" else "", "finish_reason": "stop"}
        assert watching.check(chunk({"choices": [choice]})) is None
    assert watching.end() is None


def test_one_choice_that_ends_twice_is_one() -> None:
    watching = guard(n=2)
    assert watching.check(chunk(chat("stop"), chat("stop"))) is None
    assert isinstance(watching.end(), UpstreamIncomplete)


@pytest.mark.parametrize("finish", [None, ""])
def test_no_finish_reason(finish: Any) -> None:
    watching = guard()
    assert watching.check(chunk(chat(finish, content="a"))) is None
    assert isinstance(watching.end(), UpstreamIncomplete)


def test_a_server_that_never_says_why() -> None:
    watching = Guard("chat", {"n": 2}, None, finishes=False)
    assert watching.check(chunk(chat(content="a"))) is None
    assert watching.end() is None
    assert watching.check(chunk({"error": "no"})) is not None


@pytest.mark.parametrize("event", [{"choices": [{"text": 5}]}, {"choices": [{"text": {}}]}])
def test_text_shapes(event: Any) -> None:
    assert guard("text").check(chunk({"choices": [{"text": "a"}, {"text": None}]})) is None
    assert type(guard("text").check(chunk(event))) is UpstreamBadResponse
