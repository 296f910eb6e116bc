"""One field of a multipart form, found and replaced without touching any other byte of it.

By RFC 7578 (multipart/form-data) and RFC 2046, section 5.1 (how parts are delimited).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import InvalidRequest

MEDIA_TYPE = "multipart/form-data"
PARTS = 1000  # parts of a form that are looked at
PARAMETER = re.compile(r';\s*([\w.!#$%&\'*+^`|~-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;"]+)')
DISPOSITION = re.compile(rb"(?:^|\r\n)content-disposition:([^\r\n]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Field:
    """A plain field: its value, and where that begins and ends in the body."""

    value: str
    start: int
    end: int


def is_form(content_type: str) -> bool:
    return content_type.split(";", 1)[0].strip().lower() == MEDIA_TYPE


def find_field(body: bytes, content_type: str, name: str) -> Field | None:
    """The form's field of that name; None if it has none. Raises InvalidRequest for a body that is
    no form, and for one that has the field twice, since two readers could disagree on it.
    """
    found = None
    for head, start, end in _parts(body, _boundary(content_type)):
        given = _parameters(head)
        if given.get("name") != name or "filename" in given:
            continue
        if found is not None:
            raise _bad(f"it has the field {name!r} twice")
        try:
            found = Field(body[start:end].decode(), start, end)
        except UnicodeDecodeError:
            raise _bad(f"its field {name!r} is not UTF-8") from None
    return found


def with_field(body: bytes, field: Field, value: str) -> bytes:
    """The body with another value for that field."""
    return body[: field.start] + value.encode() + body[field.end :]


def _boundary(content_type: str) -> bytes:
    boundary = _values(content_type).get("boundary", "")
    if not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise _bad("its content type names no boundary")
    return boundary.encode()


def _parts(body: bytes, boundary: bytes) -> list[tuple[bytes, int, int]]:
    """Head, start and end of each part."""
    mark = b"\r\n--" + boundary
    found: list[tuple[bytes, int, int]] = []
    at = len(mark) - 2 if body.startswith(mark[2:]) else _after(body, mark, 0)
    while body[at : at + 2] != b"--":
        line = _after(body, b"\r\n", at)
        if body[at : line - 2].strip(b" \t"):
            raise _bad("something follows a boundary on its line")
        start = _after(body, b"\r\n\r\n", line - 2)
        at = _after(body, mark, start)
        found.append((body[line : start - 4], start, at - len(mark)))
        if len(found) > PARTS:
            raise _bad(f"it has more than {PARTS} parts")
    return found


def _after(body: bytes, what: bytes, at: int) -> int:
    place = body.find(what, at)
    if place < 0:
        raise _bad("it does not end as it should")
    return place + len(what)


def _parameters(head: bytes) -> dict[str, str]:
    """What a part's Content-Disposition says."""
    match = DISPOSITION.search(head)
    return {} if match is None else _values(match[1].decode("utf-8", "replace"))


def _values(header: str) -> dict[str, str]:
    pairs = [(match[1].lower(), match[2]) for match in PARAMETER.finditer(header)]
    return {name: _unquoted(value) for name, value in pairs}


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _bad(why: str) -> InvalidRequest:
    return InvalidRequest(f"The request's form cannot be read: {why}.", code="invalid_form")
