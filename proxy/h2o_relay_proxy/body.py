"""Reading a request's body, and reading it as JSON: once, bounded, strictly.

Strict means that two readers could not disagree on what was said: duplicate keys, NaN, infinities,
lone surrogates and deep nesting are refused, and nothing is coerced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from h2o_relay.errors import InvalidJSON, InvalidRequest, RequestTooLarge, UnsupportedMediaType

DEPTH = 64  # objects and arrays in one another
EXPLAINED = 64 * 1024  # bytes of a faulty body that are searched for the field at fault
KEY_END = re.compile(rb'"[ \t\r\n]*:')
"""Stands after every key, and perhaps in strings: as many as keys means that none stood twice."""
Headers = dict[bytes, bytes]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class ClientGone(Exception):
    """The client left before it had sent its request."""


async def read_body(receive: Receive, headers: Headers, limit: int) -> bytes:
    """The body. Raises RequestTooLarge, as early as it is known, or ClientGone."""
    length = headers.get(b"content-length")
    if length is not None and int(length) > limit:
        raise too_large(limit)
    pieces, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise too_large(limit)
        pieces.append(piece)
        if not message.get("more_body"):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"The request is larger than {limit} bytes.")


def check_media_type(headers: Headers) -> None:
    """Refuse what is not plain JSON. Raises UnsupportedMediaType."""
    kind = headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower()
    if kind != b"application/json":
        raise UnsupportedMediaType("The content type must be application/json.")
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in (b"identity", b""):
        raise UnsupportedMediaType("A compressed request body is not accepted.")


def decode(body: bytes) -> dict[str, Any]:
    """A body that is one JSON object. Raises InvalidJSON, or InvalidRequest with its `code`."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _why(body, error) from None
    if type(data) is not dict:
        raise InvalidJSON("The request body must be a JSON object.")
    if body.count(b"{") + body.count(b"[") > DEPTH and _deeper(data, DEPTH):
        raise too_deep()
    # Cheapest first: a compact body is what it would be written as, and then has no key twice.
    if orjson.dumps(data) != body and len(KEY_END.findall(body)) != _keys(data):
        UNIQUE.decode(body.decode())
    return data


def _keys(data: Any) -> int:
    """How many keys a decoded document has, each counted once."""
    count, waiting = 0, [data]
    while waiting:
        value = waiting.pop()
        if type(value) is dict:
            count += len(value)
            value = value.values()
        waiting += [inner for inner in value if type(inner) in (dict, list)]
    return count


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidJSON(f"The key {twice[:100]!r} stands twice in one object.")
    return found


UNIQUE = json.JSONDecoder(object_pairs_hook=_unique)


def too_deep() -> InvalidRequest:
    return InvalidRequest(f"The request is nested over {DEPTH} levels.", code="nesting_too_deep")


def _deeper(data: Any, limit: int) -> bool:
    level = [data]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in (dict, list)
        ]
        if not level:
            return False
    return True


def _why(body: bytes, error: orjson.JSONDecodeError) -> InvalidRequest:
    """The error for a body that orjson refuses: the field at fault where one can be named."""
    text = str(error)
    if "depth limit" in text:
        return too_deep()
    if ("UTF-8" in text and "BOM" not in text) or "surrogate" in text:
        return InvalidRequest("The request is not valid UTF-8.", code="invalid_encoding")
    place = f"line {error.lineno}, column {error.colno}"
    if len(body) <= EXPLAINED:
        field = _not_finite(body)
        if field is not None:
            return InvalidRequest(f"{field} must be a finite number.", param=field)
    return InvalidJSON(f"The request body is not valid JSON: {error.msg} ({place}).")


def _not_finite(body: bytes) -> str | None:
    """The top-level field that holds NaN or an infinity, if nothing else is wrong."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    bad = (float("inf"), float("-inf"))
    return next((k for k, v in data.items() if isinstance(v, float) and (v != v or v in bad)), None)
