"""Errors as answers, where no upstream can provoke them."""

from __future__ import annotations

from typing import Any, cast

import pytest

from h2o_relay.errors import RateLimited
from h2o_relay_proxy.exchange import Exchange
from h2o_relay_proxy.head import Head
from h2o_relay_proxy.respond import encoded, reply_error


class Wire:
    """What an exchange needs of its connection."""

    standing = b"date: now\r\n"
    full = False

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def finished(self, exchange: Exchange) -> None:
        pass


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.0, b"0"), (0.1, b"1"), (7.0, b"7"), (float("inf"), b"31536000")]
)
def test_a_plugins_wait_is_told_in_whole_seconds(seconds: float, told: bytes) -> None:
    wire = Wire()
    exchange = Exchange(cast(Any, wire), Head("POST", b"/", "1.1", [], True))
    reply_error(exchange, RateLimited("wait", retry_after=seconds))
    head, _, body = wire.written.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nretry-after: %b" % told in head
    assert b"\r\ncontent-length: %d\r\n" % len(body) in head
    assert exchange.answered


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\r\nset-cookie: x"])
def test_no_value_becomes_a_header_of_its_own(bad: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        encoded([(b"x-h2o-backend", bad.encode())])


def test_an_answer_has_one_head() -> None:
    exchange = Exchange(cast(Any, Wire()), Head("GET", b"/", "1.1", [], True))
    exchange.reply(b"{}")
    with pytest.raises(RuntimeError, match="one head"):
        exchange.reply(b"{}")
