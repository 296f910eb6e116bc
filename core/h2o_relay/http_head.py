"""What is written before a request's body, and where it goes: read once from a URL."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from .errors import InvalidRequest, PluginError

USER_AGENT = "h2o-relay"
SAFE_PATH = "/%:@!$&'()*+,;=~-._?#[]"


class Origin(NamedTuple):
    secure: bool
    host: str
    port: int


def encode_head(
    method: str, path: str, host: str, headers: Mapping[str, str], body: Any, more: bytes = b""
) -> bytes:
    """The request's head, and its body if that is bytes. `more` are encoded headers that no other
    request has.
    """
    begin = head_begin(method, path, host, tuple(headers.items())) + more
    if not isinstance(body, bytes):
        return begin + b"transfer-encoding: chunked\r\n\r\n"
    if not body and method == "GET":
        return begin + b"\r\n"
    return b"%bcontent-length: %d\r\n\r\n%b" % (begin, len(body), body)


@lru_cache(maxsize=256)
def head_begin(method: str, path: str, host: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}", f"user-agent: {USER_AGENT}"]
    lines.append("accept-encoding: identity")
    lines += [f"{name}: {value}" for name, value in headers]
    text = "\r\n".join([*lines, ""])
    if text.count("\n") != len(lines) or text.count("\r") != len(lines):
        raise PluginError("a header for the upstream contains a line break")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise InvalidRequest("a header for the upstream is not ISO-8859-1") from None


@lru_cache(maxsize=1024)
def split_url(url: str) -> tuple[Origin, str, str]:
    """Origin, path with query, and Host header of an http(s) URL.

    Raises InvalidRequest for anything else, user information and IPv6 zones included.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidRequest(f"not a URL: {error}") from None
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or "@" in parts.netloc
        or port == 0
    ):
        raise InvalidRequest("an upstream's URL must be http://host or https://host")
    secure = parts.scheme == "https"
    try:
        host = parts.hostname if ":" in parts.hostname else parts.hostname.encode("idna").decode()
    except UnicodeError:
        raise InvalidRequest("the upstream's host name is not valid") from None
    if "%" in host:
        raise InvalidRequest("an IPv6 zone cannot be used in an upstream's URL")
    shown = f"[{host}]" if ":" in host else host
    path = quote(parts.path or "/", safe=SAFE_PATH)
    if parts.query:
        path += "?" + quote(parts.query, safe=SAFE_PATH)
    origin = Origin(secure, host, port or (443 if secure else 80))
    return origin, path, shown if port is None else f"{shown}:{port}"
