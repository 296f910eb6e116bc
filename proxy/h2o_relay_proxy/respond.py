"""Writing answers as raw ASGI messages: JSON, errors, event streams."""

from __future__ import annotations

import itertools
import math
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from h2o_relay.errors import MethodNotAllowed, Overloaded, RelayError

Send = Callable[[dict[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

SAFE: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)
JSON: tuple[Header, ...] = ((b"content-type", b"application/json"), *SAFE)
EVENTS: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back otherwise
    *SAFE,
)
CLOSE: Header = (b"connection", b"close")
DONE = b"data: [DONE]\n\n"
WORD = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
SERIAL = itertools.count(int.from_bytes(os.urandom(6), "big"))
"""Tells requests of one millisecond, and of several relays, apart."""
LONGEST_WAIT = 31_536_000  # seconds that a caller may be asked to wait: upstreams say `inf`, too


class Headers(list[Header]):
    """Headers of which the first `skip` are constant: `block` is their encoding, for those who
    know of it. To any ASGI server it is a list.
    """

    __slots__ = ("block", "skip")

    def __init__(self, constant: Constant, *more: Header) -> None:
        super().__init__(constant.headers)
        self.extend(more)
        self.block = constant.block
        self.skip = len(constant.headers)


class Constant:
    """Headers that many answers have."""

    def __init__(self, headers: tuple[Header, ...]) -> None:
        self.headers = headers
        self.block = b"".join(b"%b: %b\r\n" % header for header in headers)


JSON_HEAD = Constant(JSON)
EVENTS_HEAD = Constant(EVENTS)


async def send_json(
    send: Send, body: bytes, status: int = 200, headers: Iterable[Header] = ()
) -> None:
    length = (b"content-length", b"%d" % len(body))
    all_headers = Headers(JSON_HEAD, length, *headers)
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: RelayError, headers: Iterable[Header] = ()) -> None:
    """An error before the head: its status, OpenAI's body, and what its status asks for."""
    extra = list(headers)
    if error.retry_after is not None:
        extra.append((b"retry-after", b"%d" % math.ceil(min(error.retry_after, LONGEST_WAIT))))
    if isinstance(error, MethodNotAllowed):
        extra.append((b"allow", error.allow.encode()))
    if error.status == 401:
        extra.append((b"www-authenticate", b"Bearer"))
    await send_json(send, error.encoded(), error.status, extra)


def error_event(error: RelayError) -> bytes:
    """An error after the head; no `[DONE]` follows it."""
    return b"data: " + error.encoded() + b"\n\n"


def draining() -> Overloaded:
    """What a request is told that is cancelled although its client is there."""
    return Overloaded("The relay is shutting down.", code="draining")


def new_id(given: bytes | None = None) -> bytes:
    """The caller's own request id if it is a plain word, else a new one: 24 hex digits of which
    the first 12 are the time, so that they sort.
    """
    if given is not None and WORD.fullmatch(given):
        return given
    return b"%012x%012x" % (int(time.time() * 1000), next(SERIAL) & 0xFFFFFFFFFFFF)
