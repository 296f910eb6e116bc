"""A request's head: what is wrong with it, where it goes, and offers that are passed by."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import httptools

from h2o_relay.errors import HeadersTooLarge, InvalidRequest, RelayError

from .exchange import STATUS_LINES
from .respond import CLOSE, JSON, Header, new_id

HEAD_LIMIT = 64 * 1024  # bytes of all headers
HEADER_COUNT = 100
PLAIN_PATH = re.compile(rb"/[A-Za-z0-9/_.-]*")
OFFERED = frozenset({b"upgrade", b"http2-settings"})


def without_upgrade(method: bytes, url: bytes, version: str, headers: Iterable[Header]) -> bytes:
    """The head of a request, without its offer to speak another protocol.

    An offer may be ignored (RFC 9110, 7.8). Java's HTTP client makes one with its first request,
    and the parser would take the body for that other protocol.
    """
    lines = [b"%b %b HTTP/%b" % (method, url, version.encode())]
    for name, value in headers:
        if name == b"connection":
            tokens = [token.strip() for token in value.split(b",")]
            value = b", ".join(token for token in tokens if token.lower() not in OFFERED)
        if name not in OFFERED and value:
            lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join(lines) + b"\r\n\r\n"


def head_fault(headers: list[Header], unread: int) -> RelayError | None:
    """Why a head is refused, if it is. `unread` bytes is the least that could hold it."""
    if len(headers) > HEADER_COUNT:
        return HeadersTooLarge(f"There are more than {HEADER_COUNT} headers.")
    for _, value in headers:
        if not value.isascii():
            return InvalidRequest("A header is not ASCII.", code="invalid_header")
    if len(dict(headers)) < len(headers) and sum(name == b"host" for name, _ in headers) > 1:
        return InvalidRequest("There are two Host headers.", code="invalid_header")
    if unread > HEAD_LIMIT:
        size = sum(len(name) + len(value) for name, value in headers)
        if size > HEAD_LIMIT:
            return HeadersTooLarge(f"The headers are larger than {HEAD_LIMIT} bytes.")
    return None


def target_of(url: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request's target, as they were sent. Raises ValueError, AttributeError or
    httptools' HttpParserError for a target that is no URL.
    """
    if PLAIN_PATH.fullmatch(url) is not None:
        return url, b""
    parsed = httptools.parse_url(url)
    path: bytes = parsed.path
    path.decode("ascii")
    return path, parsed.query or b""


class Refused(NamedTuple):
    """A request that the connection itself has refused, as far as it could be read."""

    id: bytes
    method: str = ""
    path: bytes = b""


def refused(method: bytes, url: bytes, headers: Iterable[Header]) -> Refused:
    """From what there is of a head; without a URL its method is not known either."""
    id = new_id(next((value for name, value in headers if name == b"x-request-id"), None))
    if not url:
        return Refused(id)
    try:
        path, _ = target_of(url)
    except (ValueError, AttributeError, httptools.HttpParserError):
        path = b""
    return Refused(id, method.decode("ascii", "replace"), path)


def whole_refusal(error: RelayError, id: bytes) -> bytes:
    """An answer from the connection itself, head and body, after which it closes; `id` is the
    request's.
    """
    body = error.encoded()
    more = b"x-request-id: %b\r\ncontent-length: %d\r\n\r\n" % (id, len(body))
    return b"".join((STATUS_LINES[error.status], JSON, CLOSE, more, body))
