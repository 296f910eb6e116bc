"""Events of a prediction's stream, however their bytes arrive."""

from __future__ import annotations

import pytest

from h2o_relay.errors import UpstreamBadResponse, UpstreamResponseTooLarge
from h2o_relay_replicate.events import Events
from h2o_relay_replicate.standin import event

PLAIN = event("output", " Héllo \U0001f99c\n\nline ") + event("output", "") + event("done", "{}")
EXPECTED = [("output", " Héllo \U0001f99c\n\nline "), ("output", ""), ("done", "{}")]


def read(*pieces: bytes, limit: int = 1000) -> list[tuple[str, str]]:
    events = Events(limit)
    return [found for piece in pieces for found in events.feed(piece)]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_every_cut_gives_the_same(newline: bytes, bom: bytes) -> None:
    # A CR that is the last byte may be half of a CRLF, so something has to follow it.
    wire = bom + PLAIN.replace(b"\n", newline) + b": end\n"
    assert read(wire) == EXPECTED
    assert read(*(wire[i : i + 1] for i in range(len(wire)))) == EXPECTED
    for at in range(len(wire)):
        assert read(wire[:at], wire[at:]) == EXPECTED, at


def test_comments_retries_and_events_without_data_say_nothing() -> None:
    assert read(b": hi\n\nretry: 5\n\nevent: output\n\ndata: x\n\n") == [("message", "x")]


def test_an_unfinished_event_is_none() -> None:
    assert read(b"event: output\ndata: x\n") == []


@pytest.mark.parametrize("pieces", [(b"data: " + b"x" * 99,), (b"data: " + b"x" * 30 + b"\n",) * 3])
def test_an_event_over_the_limit(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(UpstreamResponseTooLarge):
        read(*pieces, limit=64)


def test_many_small_events_are_not_too_large() -> None:
    assert len(read(b"data: xxxxxxxx\n\n" * 50, limit=64)) == 50


def test_what_is_not_utf8() -> None:
    with pytest.raises(UpstreamBadResponse):
        read(b"data: \xff\n\n")
