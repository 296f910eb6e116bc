"""An event that is put together has the bytes of one that is written anew."""

import re
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from h2o_relay.chunks import END, PREFIX
from h2o_relay.wording import PLAIN, Wording

ALL_PLAIN = re.compile(PLAIN + b"*").fullmatch
ODD = [
    '"', "\\", '"}', "\n", "\r\n", "\x00", "\x1f", "\x7f", "\x80", "</b>", "\u2028", "é☃😀", "@",
]  # fmt: skip


def event(text: str) -> dict[str, Any]:
    return {
        "id": "c", "model": 'a "quoted" model\u2603',
        "choices": [{"index": 0, "delta": {"content": text}, "logprobs": None}], "usage": None,
    }  # fmt: skip


def anew(text: str) -> bytes:
    return PREFIX + orjson.dumps(event(text)) + END


@given(st.text(max_size=20) | st.lists(st.sampled_from(ODD), max_size=4).map("".join))
@example("")
@example("x" * 70_000)
def test_any_text(text: str) -> None:
    assert Wording(event).event(text) == anew(text)


@given(st.binary(max_size=12) | st.text(max_size=12).map(str.encode))
@example(bytes(range(0x20, 0x22)) + bytes(range(0x23, 0x5C)) + bytes(range(0x5D, 0x80)))
@example(b"")
def test_bytes_that_are_plain_are_written_like_this(inside: bytes) -> None:
    if ALL_PLAIN(inside) is None:
        return
    wording = Wording(event)
    text = orjson.loads(b'"%b"' % inside)
    assert wording.before + inside + wording.after == anew(text)


@pytest.mark.parametrize("byte", [*range(0x20), *b'"\\', *range(0x80, 0x100)])
def test_others_are_not_plain(byte: int) -> None:
    assert ALL_PLAIN(b"a" + bytes([byte])) is None


@pytest.mark.parametrize(
    "make", [lambda _: {"text": "x"}, lambda text: {"a": text, "b": text}, lambda t: {"a": f"{t}."}]
)
def test_the_text_has_one_place(make: Any) -> None:
    with pytest.raises(ValueError, match="the text in no place, or in several"):
        Wording(make)


def test_a_text_that_is_no_unicode() -> None:
    with pytest.raises(TypeError):
        Wording(event).event("\ud800")
