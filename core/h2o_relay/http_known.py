"""The head that an origin's answers begin with, so that the same bytes are not parsed each time.

Servers begin one answer as they began the last: all but the length of the body is the same, for a
second where there is a Date, or for good. What httptools has parsed once, of an answer that came
whole in one read, is compared after that, byte for byte. Anything else is parsed.
"""

from __future__ import annotations

import re

BEGIN = b"HTTP/1.1 200 "
END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([1-9][0-9]{0,17})\r\n", re.IGNORECASE)
DIGITS = 18  # of a length, at most
LIMIT = 8 * 1024  # bytes of a head that is worth keeping


class KnownHead:
    """The last one, shared by all connections to an origin."""

    __slots__ = ("_after", "_before", "_head", "_size", "_total", "headers")

    def __init__(self) -> None:
        self._head, self._size = b"", 0  # nothing known
        self._total = -1  # bytes of the last answer
        self._before = b""  # of the head, up to the digits of the length
        self._after = b""  # from the end of that line on
        self.headers: dict[bytes, bytes] = {}
        """As they were parsed, the length among them."""

    def learn(self, data: bytes, headers: dict[bytes, bytes]) -> None:
        """`data` is a whole answer on a connection that is kept; `headers` were parsed of it."""
        length = headers.get(b"content-length")  # two of them would be joined
        if length is None or b"transfer-encoding" in headers or not data.startswith(BEGIN):
            return
        end = data.find(END, 0, LIMIT) + len(END)
        told = LENGTH.search(data, 0, end)
        if told is None or told[1] != length or int(length) != len(data) - end:
            return
        self._before, self._after = data[: told.start(1)], data[told.end(1) : end]
        self._keep(data, end, headers)

    def body(self, data: bytes) -> bytes | None:
        """The body, if `data` is a whole answer that begins so; `headers` are its own then."""
        if len(data) == self._total and data.startswith(self._head):
            return data[self._size :]
        return self._longer(data) if self._size else None

    def _longer(self, data: bytes) -> bytes | None:
        """The same for a body that is longer or shorter than the last one."""
        before = self._before
        if not data.startswith(before):
            return None
        start, after = len(before), self._after
        end = data.find(b"\r", start, start + DIGITS + 1)
        if end < 0 or not data.startswith(after, end):
            return None
        length, size = data[start:end], end + len(after)
        if not length.isdigit() or length[:1] == b"0" or int(length) != len(data) - size:
            return None
        self._keep(data, size, {**self.headers, b"content-length": length})
        return data[size:]

    def _keep(self, data: bytes, size: int, headers: dict[bytes, bytes]) -> None:
        self._head, self._size, self._total = data[:size], size, len(data)
        self.headers = headers
