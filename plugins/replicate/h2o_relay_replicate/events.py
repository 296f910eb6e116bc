"""Server-sent events with their types, which the kernel's own splitter does not keep.

After the WHATWG HTML standard, section 9.2.6: an event ends with a blank line, its data lines are
joined by a line feed, one space after the colon is no part of the value. Line ends inside a model's
text arrive as further data lines, so nothing of the text is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from h2o_relay.errors import UpstreamBadResponse, UpstreamResponseTooLarge

LINE_END = re.compile(rb"\r\n|\r|\n")
BOM = b"\xef\xbb\xbf"


class Events:
    """Feed it bytes, take (type, data) of the events that they complete. `limit` bounds the bytes
    of one event.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""
        self._first = True
        self._type = b""
        self._lines: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[tuple[str, str]]:
        """Raises UpstreamResponseTooLarge, and UpstreamBadResponse for data that is not UTF-8."""
        for line in self._whole_lines(data):
            if line:
                self._read(line)
                continue
            if self._lines:
                yield self._type.decode("utf-8", "replace") or "message", self._text()
            self._type, self._lines, self._size = b"", [], 0

    def _whole_lines(self, data: bytes) -> list[bytes]:
        held = self._rest + data
        if self._first:
            if BOM.startswith(held):  # too little to tell
                self._rest = held
                return []
            held, self._first = held.removeprefix(BOM), False
        # A CR at the end may be half of a CRLF.
        end = len(held) - 1 if held.endswith(b"\r") else len(held)
        *lines, rest = LINE_END.split(held[:end])
        self._rest = rest + held[end:]
        if len(self._rest) + self._size > self._limit:
            self._too_large()
        return lines

    def _read(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._lines.append(value)
            self._size += len(value)
            if self._size > self._limit:
                self._too_large()
        elif name == b"event":
            self._type = value

    def _text(self) -> str:
        try:
            return b"\n".join(self._lines).decode()
        except UnicodeDecodeError:
            raise UpstreamBadResponse("an event of the stream is not UTF-8") from None

    def _too_large(self) -> None:
        raise UpstreamResponseTooLarge(f"an event of the stream is over {self._limit} bytes")
