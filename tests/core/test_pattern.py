"""An event that fits the pattern is one that parsing and checking would have let pass."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from h2o_relay.chunks import Chunk
from h2o_relay.guard import Guard
from h2o_relay.pattern import Pattern
from h2o_relay.sse import Splitter, is_normal

TEXTS = st.text(max_size=12) | st.sampled_from(
    ['"', "\\", '"}', '","error":"x', "data: [DONE]", "\n\n", "\r", "\x00", "\ud800", '"content":"']
)


def event(content: Any, **choice: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None, **choice}],
    }


def wire(data: Any, **style: Any) -> bytes:
    return b"data: " + json.dumps(data, **style).encode("utf-8", "surrogatepass") + b"\n\n"


def learnt(first: bytes) -> Pattern:
    pattern = Pattern()
    pattern.learn(first)
    return pattern


def judged(data: bytes) -> list[Any]:
    """What the slow path makes of it; every event must be good."""
    assert is_normal(data)
    splitter = Splitter(2**20)
    assert splitter.feed(data) == data
    assert not splitter.done
    chunk = Chunk(data)
    guard = Guard("chat", {}, None)
    assert guard.check(chunk) is None
    assert guard.end() is not None, "it finishes nothing"
    return chunk.events()


@pytest.mark.parametrize("style", [{}, {"separators": (",", ":")}, {"ensure_ascii": False}])
def test_ordinary_pieces_fit(style: Any) -> None:
    pattern = learnt(wire(event("a"), **style))
    for text in ("", "b", "caf\u00e9 \u2603", 'quote " and \\ and \n', "[DONE]", "x" * 1000):
        data = wire(event(text), **style)
        assert pattern.fits(data)
        assert judged(data) == [event(text)]


@pytest.mark.parametrize(
    "data",
    [
        b"data: [DONE]\n\n",
        b"",
        b"data: ",
        wire(event("a", finish_reason="stop")),
        wire(event("a", index=1)),
        wire(event("a", logprobs=None)),
        wire({**event("a"), "id": "chatcmpl-2"}),
        wire({**event("a"), "error": {"message": "no"}}),
        wire(event(None)),
        wire(event(5)),
        wire(event("a"))[:-1],
        wire(event("a"))[:-2],
        wire(event("a")) + b"\n",
        wire(event("a")) * 2,
        b": hi\n\n" + wire(event("a")),
        b"id: 1\n" + wire(event("a")),
        wire(event("a")).replace(b"\n", b"\r\n"),
        wire(event("@")).replace(b"@", b'"'),
        wire(event("@")).replace(b"@", b"\\"),
        wire(event("@")).replace(b"@", b"\\x"),
        wire(event("@")).replace(b"@", b"\n"),
        wire(event("@")).replace(b"@", b"\r"),
        wire(event("@")).replace(b"@", b"\x00"),
        wire(event("@")).replace(b"@", b"\xff"),
        wire(event("@")).replace(b"@", b"\xed\xa0\x80"),
        wire(event("@")).replace(b"@", b"\\ud800"),
        wire(event("@")).replace(b"@", b"\\u12"),
        wire(event("@")).replace(b"@", b'","x":"'),
        wire(event("@")).replace(b"@", b'"}}],"error":{"a":"'),
    ],
)
def test_others_do_not(data: bytes) -> None:
    assert not learnt(wire(event("a"))).fits(data)
    assert not Pattern().fits(data)


@pytest.mark.parametrize(
    "first",
    [
        wire(event("a", finish_reason="stop")),
        wire({**event("a"), "error": {"content": "a"}}),
        wire({"error": {"content": "a"}, "x": {"finish_reason": None}}),
        wire({"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]}),
        wire(event("a")) + wire(event("a", finish_reason="stop")),
        b"",
    ],
)
def test_nothing_is_learnt_from_these(first: bytes) -> None:
    pattern = learnt(wire(event("a")))
    pattern.learn(first)
    assert not pattern.fits(first)
    assert not pattern.fits(wire(event("a")))


def test_of_several_the_last_is_learnt() -> None:
    role = wire({"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]})
    pattern = learnt(role + wire(event("x")) + wire(event("a")))
    assert pattern.fits(wire(event("b")))
    assert not pattern.fits(wire(event("a")) * 2)


@given(first=TEXTS, then=TEXTS, ascii_only=st.booleans(), cut=st.binary(max_size=6))
@example(first="a", then="a", ascii_only=True, cut=b'"}')
def test_what_fits_is_good(first: str, then: str, ascii_only: bool, cut: bytes) -> None:
    """Also where any bytes at all stand in the place of the text."""
    start = wire(event(first), ensure_ascii=ascii_only)
    try:
        if orjson.loads(start[6:]) != event(first):
            return
    except orjson.JSONDecodeError:
        return  # a lone surrogate: the kernel would have refused it
    pattern = learnt(start)
    before, _, after = wire(event("@@")).partition(b"@@")
    for data in (
        wire(event(then), ensure_ascii=ascii_only),
        wire(event(then), ensure_ascii=not ascii_only),
        before + cut + after,
        before + cut + before + after,
    ):
        if pattern.fits(data):
            (found,) = judged(data)
            assert {**found, "choices": None} == {**event(""), "choices": None}
            assert isinstance(found["choices"][0]["delta"]["content"], str)
