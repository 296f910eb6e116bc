"""The event splitter: the same events from the same bytes, however TCP cuts them."""

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2o_relay.errors import UpstreamResponseTooLarge
from h2o_relay.sse import Splitter, is_normal, normalise

LIMIT = 1000
BOM = b"\xef\xbb\xbf"


def split(*pieces: bytes, limit: int = LIMIT) -> tuple[bytes, bool]:
    splitter = Splitter(limit)
    out = b""
    for piece in pieces:
        if splitter.done:
            break
        out += splitter.feed(piece)
        if splitter.error is not None:
            raise splitter.error
    return out, splitter.done


SAMPLES = {
    "plain": (b'data: {"a":1}\n\ndata: {"b":2}\n\n', b'data: {"a":1}\n\ndata: {"b":2}\n\n', False),
    "crlf": (b"data: 1\r\n\r\ndata: 2\r\n\r\n", b"data: 1\n\ndata: 2\n\n", False),
    "cr": (b"data: 1\r\rdata: 2\r\r", b"data: 1\n\ndata: 2\n\n", False),
    "mixed": (b"data: 1\r\n\ndata: 2\n\r\ndata: 3\r\r\n",
              b"data: 1\n\ndata: 2\n\ndata: 3\n\n", False),
    "no_space": (b"data:1\n\ndata:  2\n\n", b"data: 1\n\ndata:  2\n\n", False),
    "bom": (BOM + b"data: 1\n\n", b"data: 1\n\n", False),
    "bom_later": (b"data: 1\n\n" + BOM + b"data: 2\n\n", b"data: 1\n\n", False),
    "comments": (b": hi\n\n:\n\ndata: 1\n: in between\n\n: bye\n\n", b"data: 1\n\n", False),
    "fields": (b"id: 7\nretry: 5\nevent: message\ndata: 1\nnew: x\n\n", b"data: 1\n\n", False),
    "id_alone": (b"id: 7\n\nretry: 5\n\ndata: 1\n\n", b"data: 1\n\n", False),
    "foreign": (b"event: execute\ndata: rm\n\ndata: 1\n\nevent:ping\ndata: {}\n\n", b"data: 1\n\n",
                False),
    "type_ends": (b"event: execute\n\ndata: 1\n\n", b"data: 1\n\n", False),
    "error": (b'event: error\ndata: {"error":{}}\n\n', b'data: {"error":{}}\n\n', False),
    "bare_error": (b'event: error\ndata: {"message":"no"}\n\n',
                   b'data: {"error":{"message":"no"}}\n\n', False),
    "lines": (b'data: {"a":\ndata: 1,\ndata:"b":2}\n\n', b'data: {"a": 1, "b":2}\n\n', False),
    "more_blank": (b"\n\ndata: 1\n\n\n\n\ndata: 2\n\n\n", b"data: 1\n\ndata: 2\n\n", False),
    "done": (b"data: 1\n\ndata: [DONE]\n\n", b"data: 1\n\n", True),
    "done_first": (b"data: [DONE]\n\ndata: 1\n\n", b"", True),
    "done_between": (b"data: 1\n\ndata:[DONE]\n\ndata: 2\n\n", b"data: 1\n\n", True),
    "done_crlf": (b"data: 1\r\n\r\ndata: [DONE]\r\n\r\n", b"data: 1\n\n", True),
    "done_cr": (b"data: 1\r\rdata: [DONE]\r\r", b"data: 1\n\n", True),
    "done_with_comment": (b"data: 1\n\n: x\ndata: [DONE]\nid: 1\n\n", b"data: 1\n\n", True),
    "not_done": (b'data: {"a":"data: [DONE]"}\n\ndata: 2\n\n',
                 b'data: {"a":"data: [DONE]"}\n\ndata: 2\n\n', False),
    "nearly_done": (b"data: [DONE]!\n\ndata: 2\n\ndata: [DONE]\n\n",
                    b"data: [DONE]!\n\ndata: 2\n\n", True),
    "done_unfinished": (b"data: 1\n\ndata: [DONE]\n", b"data: 1\n\n", False),
    "cut": (b"data: 1\n\ndata: 2\n", b"data: 1\n\n", False),
    "cut_in_line": (b"data: 1\n\ndata: 2", b"data: 1\n\n", False),
    "empty": (b"", b"", False),
    "like_sse": (b'data: {"a":"\\n\\ndata: x\\r\\n\\u2028"}\n\n',
                 b'data: {"a":"\\n\\ndata: x\\r\\n\\u2028"}\n\n', False),
    "other_line_ends": ('data: {"a":"\u2028\x0b\x0c\x85\x00"}\n\n'.encode(),
                        'data: {"a":"\u2028\x0b\x0c\x85\x00"}\n\n'.encode(), False),
    "bad_utf8": (b"data: \xff\xfe\n\n", b"data: \xff\xfe\n\n", False),
    "field_without_colon": (b"data\ndata: 1\n\n", b"data:  1\n\n", False),
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_every_cut_in_two_and_byte_by_byte(name: str) -> None:
    wire, *expected = SAMPLES[name]
    assert split(wire) == tuple(expected)
    for at in range(len(wire) + 1):
        assert split(wire[:at], wire[at:]) == tuple(expected), wire[:at]
    assert split(*(wire[i : i + 1] for i in range(len(wire)))) == tuple(expected)


LINES = st.sampled_from(
    [
        b"data: a", b"data:b", b"data: [DONE]", b"data:", b": c", b"id: 1", b"event: x",
        b"event: message", b"retry: 1", b"data: [DONE", b"x", b"",
        b'data: {"a":"\\n\\ndata: [DONE]"}', b"data: \xe2\x80\xa8",
    ]
)  # fmt: skip
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Any lines with any ends; a stream that ends in the middle of a CRLF has no such line."""
    lines = draw(st.lists(st.tuples(LINES, ENDS), max_size=12))
    return draw(st.sampled_from([b"", BOM])) + b"".join(line + end for line, end in lines)


@settings(max_examples=500)
@given(wire=streams(), cuts=st.lists(st.integers(0, 200), max_size=12))
def test_any_stream_in_any_pieces(wire: bytes, cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    pieces = [wire[a:b] for a, b in pairwise(bounds)]
    assert split(*pieces) == split(wire) == reference(wire)


def reference(wire: bytes) -> tuple[bytes, bool]:
    """WHATWG's algorithm as it is written, line by line, over the whole stream."""
    text = wire.removeprefix(BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    *lines, _ = text.split(b"\n")
    out, data, kind = b"", [], b""
    for line in lines:
        if line == b"":
            if data and kind in (b"", b"message", b"error"):
                payload = b" ".join(data)
                if payload == b"[DONE]":
                    return out, True
                out += b"data: " + payload + b"\n\n"
            data, kind = [], b""
            continue
        name, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value
    return out, False


@given(wire=streams())
def test_what_comes_out_stays_as_it_is(wire: bytes) -> None:
    out, _ = split(wire)
    assert normalise(out) == out
    assert split(out)[0] == out
    assert out == b"" or is_normal(out)


MEANT = (b"[DONE]", b"null")
"""Payloads that mean something to the splitter."""


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b""))))
def test_payloads_keep_their_bytes(payloads: list[bytes]) -> None:
    wire = b"".join(b"data: " + payload + b"\n\n" for payload in payloads if payload not in MEANT)
    assert split(wire) == (wire, False)


def test_an_event_leaves_with_its_last_byte() -> None:
    """It is not held until the next one begins."""
    for end in (b"\n\n", b"\r\n\r\n", b"\r\r"):
        splitter = Splitter(LIMIT)
        assert splitter.feed(b"data: 1" + end) == b"data: 1\n\n"


@pytest.mark.parametrize("size", [1, 7, 64, 5000])
def test_an_event_over_the_limit(size: int) -> None:
    for payload in (b"x" * (LIMIT - 8), b"x" * (LIMIT + 10)):
        wire = b"data: " + payload + b"\n\n"
        pieces = [wire[i : i + size] for i in range(0, len(wire), size)]
        if len(payload) < LIMIT:
            assert split(*pieces) == (wire, False)
        else:
            with pytest.raises(UpstreamResponseTooLarge):
                split(*pieces)


def test_many_events_may_be_over_the_limit_together() -> None:
    wire = b"data: 12345\n\n" * 1000
    assert split(wire, limit=50) == (wire, False)
    assert split(wire[:7001], wire[7001:], limit=50) == (wire, False)


def test_a_line_that_never_ends_is_not_held() -> None:
    splitter = Splitter(LIMIT)
    for _ in range(LIMIT // 100):
        splitter.feed(b"x" * 100)
    assert splitter.error is None
    assert splitter.feed(b"x" * 100) == b""
    assert isinstance(splitter.error, UpstreamResponseTooLarge)


def test_events_before_one_over_the_limit_are_given_out() -> None:
    good, giant = b"data: 1\n\ndata: 2\n\n", b"data: " + b"x" * LIMIT + b"\n\n"
    for wire in (good + giant, good + giant + good, good + giant[:-1]):
        splitter = Splitter(LIMIT)
        assert splitter.feed(wire) == good
        assert isinstance(splitter.error, UpstreamResponseTooLarge)


def test_a_giant_event_in_small_pieces_takes_linear_time() -> None:
    """4 MiB in 1 KiB pieces: joined once, not once a piece."""
    splitter = Splitter(2**23)
    splitter.feed(b"data: ")
    start = time.thread_time()
    for _ in range(2**12):
        splitter.feed(b"x" * 1024)
    out = splitter.feed(b"\n\n")
    assert len(out) == 2**22 + 8
    assert time.thread_time() - start < 1


def test_an_event_that_is_null_is_left_out() -> None:
    """llama.cpp's first, of several prompts; what a text says of it is none."""
    splitter = Splitter(1000)
    assert splitter.feed(b"data: null\n\n") == b""
    said = b'data: {"text":"data: null"}\n\n'
    assert splitter.feed(said + b"data: null\n\n" + said) == said + said
    assert splitter.feed(b'data: "null"\n\ndata: nul') == b'data: "null"\n\n'
