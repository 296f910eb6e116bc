"""The headers of answers, and errors as answers: JSON before the head, an event after it."""

from __future__ import annotations

import itertools
import math
import os
import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from h2o_relay.accounting.permits import LimitReached
from h2o_relay.errors import MethodNotAllowed, Overloaded, RelayError

from .dialects.messages.errors import error_body
from .dialects.messages.listing import VERSION

if TYPE_CHECKING:
    from .exchange import Exchange

Header = tuple[bytes, bytes]


def encoded(headers: Iterable[Header]) -> bytes:
    """Headers as they are sent, a line end after each. Raises ValueError for a line break in one:
    no value can become a header of its own.
    """
    lines = [b"%b: %b\r\n" % header for header in headers]
    block = b"".join(lines)
    if block.count(b"\n") != len(lines) or block.count(b"\r") != len(lines):
        raise ValueError("a header of the answer contains a line break")
    return block


SAFE: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)
JSON = encoded([(b"content-type", b"application/json"), *SAFE])
EVENTS = encoded(
    [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"x-accel-buffering", b"no"),  # nginx would hold events back otherwise
        *SAFE,
    ]
)
MESSAGES = b"/v1/messages"
MODELS = b"/v1/models"
ESTIMATED = encoded([(b"x-h2o-usage", b"estimated")])
"""Tokens that the relay has not counted but guessed."""
CLOSE = b"connection: close\r\n"
DONE = b"data: [DONE]\n\n"
WORD = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
SERIAL = itertools.count(int.from_bytes(os.urandom(6), "big"))
"""Tells requests of one millisecond, and of several relays, apart."""
TRIED = frozenset({500, 502, 504})
"""Errors after which the relay has tried again itself as often as makes sense. The client libraries
of OpenAI and Anthropic would ask twice more, each of which the relay would try again; they leave it
where `x-should-retry` says so. Who is told to wait (429, 503) may come again."""
COME_BACK = 5.0  # seconds after which a relay that was stopped may be there again
LONGEST_WAIT = 31_536_000  # seconds that a caller may be asked to wait: upstreams say `inf`, too


def reply_error(exchange: Exchange, error: RelayError, extra: bytes = b"") -> None:
    """An error before the head: its status, OpenAI's body, and what its status asks for."""
    exchange.code = error.code
    more: list[Header] = [*error.headers] if isinstance(error, LimitReached) else []
    if error.retry_after is not None:
        more.append((b"retry-after", b"%d" % math.ceil(min(error.retry_after, LONGEST_WAIT))))
    if isinstance(error, MethodNotAllowed):
        more.append((b"allow", error.allow.encode()))
    if error.status == 401:
        more.append((b"www-authenticate", b"Bearer"))
    if error.status in TRIED:
        more.append((b"x-should-retry", b"false"))
    exchange.to_anthropic = exchange.to_anthropic or _is_messages(exchange)
    body = error_body(error, exchange.name) if exchange.to_anthropic else error.encoded()
    exchange.reply(body, error.status, extra=encoded(more) + extra)


def _is_messages(exchange: Exchange) -> bool:
    """Whether the caller speaks Anthropic's API."""
    path = exchange.path
    if path == MESSAGES or path.startswith(MESSAGES + b"/"):
        return True
    return path.startswith(MODELS) and VERSION in exchange.headers


def error_event(error: RelayError) -> bytes:
    """An error after the head; no `[DONE]` follows it."""
    return b"data: " + error.encoded() + b"\n\n"


def draining() -> Overloaded:
    """What is answered to requests that come while the relay leaves."""
    return Overloaded("The relay is shutting down.", code="draining", retry_after=COME_BACK)


def cut_short(exchange: Exchange) -> RelayError:
    """What a request is told whose answer was cut: by whoever says why, else by the relay, which
    leaves and could not wait for it.
    """
    if exchange.cut_by is not None:
        return exchange.cut_by
    return Overloaded(
        "The relay is shutting down and could not wait for this answer.",
        code="gateway_shutdown", retry_after=COME_BACK,
    )  # fmt: skip


def new_id(given: bytes | None = None) -> bytes:
    """The caller's own request id if it is a plain word, else a new one: 24 hex digits of which
    the first 12 are the time, so that they sort.
    """
    if given is not None and WORD.fullmatch(given):
        return given
    return b"%012x%012x" % (int(time.time() * 1000), next(SERIAL) & 0xFFFFFFFFFFFF)
