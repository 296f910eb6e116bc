"""Offers to speak another protocol, which are passed by."""

from __future__ import annotations

from collections.abc import Iterable

from .respond import Header

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
