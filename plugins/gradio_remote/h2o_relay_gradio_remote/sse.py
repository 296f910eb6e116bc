"""Server-sent events with their names, which Gradio's `/call` endpoints use.

After the WHATWG HTML standard, section 9.2.6: lines end with LF, CR or CRLF, a blank line ends an
event, an unfinished event at the end is dropped. (The core's splitter keeps OpenAI's events only.)
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import NamedTuple

from h2o_relay.errors import UpstreamResponseTooLarge
from h2o_relay.http import Response

BLANK = re.compile(rb"\r\n\r\n|\n\n|\r\r")
LINE_END = re.compile(rb"\r\n|\r|\n")


class Event(NamedTuple):
    """An event's name ("" if it has none) and its data."""

    name: str
    data: bytes


async def events(response: Response, limit: int) -> AsyncIterator[Event]:
    """Whole events, however the bytes arrive. Raises UpstreamResponseTooLarge for one of more
    than `limit` bytes.
    """
    rest, pieces, size = b"", [], 0
    async for data in response:
        pieces.append(data)
        size += len(data)
        # A blank line may be cut in two, so that line ends alone say whether to look.
        if b"\n" not in data and b"\r" not in data and size <= limit:
            continue
        *whole, rest = BLANK.split(b"".join((rest, *pieces)))
        pieces, size = [], len(rest)
        for block in whole:
            if len(block) > limit:
                raise _too_large(limit)
            event = _event(block)
            if event is not None:
                yield event
        if size > limit:
            raise _too_large(limit)


def _event(block: bytes) -> Event | None:
    """The event of a block of lines; None for one without data, such as a comment."""
    name, data = b"", []
    for line in LINE_END.split(block):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.strip()
    return Event(name.decode("latin-1"), b"\n".join(data)) if data else None


def _too_large(limit: int) -> UpstreamResponseTooLarge:
    return UpstreamResponseTooLarge(f"an event of the Gradio server is over {limit} bytes")
