"""Reading a request's body as JSON: once, bounded, strictly.

Strict means that two readers could not disagree on what was said: duplicate keys, NaN, infinities,
lone surrogates and deep nesting are refused, and nothing is coerced.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

from h2o_relay.errors import InvalidJSON, InvalidRequest, UnsupportedMediaType

JSON = b"application/json"
DEPTH = 64  # objects and arrays in one another
CONTAINERS = 100_000  # objects and arrays of one request
ITEMS = 262_144  # of one array: as many token ids as a long context has
KEYS = 262_144  # of one request
VALUES = 1_000_000  # of one request, but for the last of each array and object
STRINGS = 524_288  # of one request, its keys among them
COMPACT = 64 * 1024  # bytes of a body that is worth writing again to compare
EXPLAINED = 64 * 1024  # bytes of a faulty body that are searched for the field at fault
KEY_END = re.compile(rb'"[ \t\r\n]*:')
"""Stands after every key and, where no quote is escaped, nowhere else."""
Headers = dict[bytes, bytes]


def check_media_type(headers: Headers) -> None:
    """Refuse what is not plain JSON. Raises UnsupportedMediaType."""
    kind = headers.get(b"content-type", b"")
    if kind == JSON and b"content-encoding" not in headers:
        return
    kind = kind.split(b";", 1)[0].strip().lower()
    if kind != JSON:
        raise UnsupportedMediaType("The content type must be application/json.")
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in (b"identity", b""):
        raise UnsupportedMediaType("A compressed request body is not accepted.")


def decode(body: bytes) -> dict[str, Any]:
    """A body that is one JSON object. Raises InvalidJSON, or InvalidRequest with its `code`.

    What it costs is bounded: nothing here may hold up the event loop.
    """
    brackets = body.count(b"{") + body.count(b"[")
    if brackets > CONTAINERS:
        _refuse_many(body)
    if len(body) > KEYS:
        _refuse_large(body)
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _why(body, error) from None
    if type(data) is not dict:
        raise InvalidJSON("The request body must be a JSON object.")
    if brackets <= DEPTH and len(body) <= COMPACT and orjson.dumps(data) == body:
        return data  # a compact body is what it would be written as: no key stands twice in it
    keys = _examine(data)
    plain = body if b"\\" not in body else _unescaped(body)
    if len(KEY_END.findall(plain)) != keys:
        UNIQUE.decode(body.decode())
    return data


def _refuse_many(body: bytes) -> None:
    """Raise InvalidRequest for too many objects and arrays. A bracket in a string is none."""
    bare = _outside(body)
    if bare.count(b"{") + bare.count(b"[") <= CONTAINERS:
        return
    start = bare[: 4 * DEPTH]
    if start.count(b"{") + start.count(b"[") > DEPTH + start.count(b"}") + start.count(b"]"):
        raise too_deep()
    raise _too_much(f"more than {CONTAINERS} objects and arrays")


def _refuse_large(body: bytes) -> None:
    """Raise InvalidRequest for more keys, values or strings than are read in a moment."""
    keys, values = body.count(b":") > KEYS, body.count(b",") > VALUES
    if keys or values or body.count(b'"') > 2 * STRINGS:
        bare = _outside(body)
        for sign, most, what in ((b":", KEYS, "keys"), (b",", VALUES, "values")):
            if bare.count(sign) > most:
                raise _too_much(f"more than {most} {what}")


def _outside(body: bytes) -> bytes:
    """What of a body is in no string. Raises InvalidRequest for too many of those."""
    plain = _unescaped(body)
    if plain.count(b'"') > 2 * STRINGS:
        raise _too_much(f"more than {STRINGS} strings")
    return b"".join(plain.split(b'"')[::2])


def _unescaped(body: bytes) -> bytes:
    """A body without the quotes that are a part of strings."""
    if b"\\" not in body:
        return body
    return body.replace(b"\\\\", b"").replace(b'\\"', b"")


def _examine(data: dict[str, Any]) -> int:
    """How many keys a document has. Raises InvalidRequest for one too deep or too large."""
    keys, level = 0, [data]
    for _ in range(DEPTH):
        below: list[Any] = []
        for outer in level:
            inner: Any = outer
            if type(outer) is dict:
                keys += len(outer)
                inner = outer.values()
            if len(inner) > ITEMS:
                raise _too_much(f"an array of more than {ITEMS} items")
            below += [value for value in inner if type(value) in (dict, list)]
        if not below:
            return keys
        level = below
    raise too_deep()


def _too_much(what: str) -> InvalidRequest:
    return InvalidRequest(f"The request has {what}.", code="array_too_long")


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
    """The path of a field that holds NaN or an infinity, if nothing else is wrong."""
    try:
        data = json.loads(body)
        return _not_finite_in(data, "") if isinstance(data, dict) else None
    except (ValueError, RecursionError):
        return None


def _not_finite_in(value: Any, path: str) -> str | None:
    if isinstance(value, float):
        return None if math.isfinite(value) else path
    inner: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        inner = [(f"{path}.{key}" if path else key, item) for key, item in value.items()]
    elif isinstance(value, list):
        inner = [(f"{path}[{number}]", item) for number, item in enumerate(value)]
    return next((bad for at, item in inner if (bad := _not_finite_in(item, at))), None)
