"""Server-sent events: bytes in whatever pieces TCP made of them, whole normalised events out.

After the WHATWG HTML standard, section 9.2.6 "Interpreting an event stream": lines end with LF, CR
or CRLF; an event ends with a blank line, and one that does not is dropped; `id`, `retry` and
comments carry no payload. What leaves here is `data: <payload>`, LF, LF and nothing else, because
common clients stumble over the rest. Nothing is decoded: payloads keep their bytes.
"""

from __future__ import annotations

import re

from .errors import UpstreamResponseTooLarge

DONE = b"data: [DONE]\n"
END = b"\n\n"
NULL = b"data: null\n\n"
"""llama.cpp begins a completion of several prompts with it; it says nothing, and clients trip."""
BOM = b"\xef\xbb\xbf"
LINE_END = re.compile(rb"\r\n|\r|\n")
OURS = frozenset({b"", b"message", b"error"})


class Splitter:
    """Feed it bytes, take whole events. `limit` bounds the bytes of one event.

    `done` becomes true at the `[DONE]` event; it and what follows are not given out. `error` is
    set by an event over the limit; those before it are still given out.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""
        self._pieces: list[bytes] = []  # more of an unfinished line
        self._size = 0
        self._first = True
        self.done = False
        self.error: UpstreamResponseTooLarge | None = None

    @property
    def between(self) -> bool:
        """No part of an event is held: what comes next begins one."""
        return not self._rest and not self._first

    def feed(self, data: bytes) -> bytes:
        """The whole events that `data` completes, normalised; b"" for none."""
        if self._rest:
            if b"\n" not in data and b"\r" not in data and not self._first:
                return self._keep(data)
            data = b"".join((self._rest, *self._pieces, data))
            self._pieces = []
            self._rest = b""
        if self._first:
            if len(data) < len(BOM) and BOM.startswith(data):
                self._rest = data
                return b""
            self._first = False
            data = data.removeprefix(BOM)
        whole = self._whole(data)
        if not whole:
            return b""
        if not is_normal(whole):
            whole = normalise(whole)
        if NULL in whole:
            whole = b"".join(e + END for e in whole.split(END)[:-1] if e + END != NULL)
        return self._until_done(whole)

    def _keep(self, data: bytes) -> bytes:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > self._limit:
            self._too_large()
        return b""

    def _too_large(self) -> None:
        self.error = UpstreamResponseTooLarge(f"an event of the stream is over {self._limit} bytes")

    def _whole(self, data: bytes) -> bytes:
        """Keep what follows the last blank line, return the rest."""
        if data.endswith(b"\n\n") and b"\r" not in data:
            return data
        end = _last_blank(data) if b"\r" in data else data.rfind(b"\n\n") + 2
        if end < 2:
            end = 1 if data.startswith(b"\n") else 0
        self._rest = data[end:]
        self._size = len(self._rest)
        self._pieces = []
        if self._size > self._limit:
            self._too_large()
        return data[:end]

    def _until_done(self, whole: bytes) -> bytes:
        at = whole.find(DONE)
        while at > 0 and whole[at - 1 : at] != b"\n":
            at = whole.find(DONE, at + 1)  # inside a payload
        if at >= 0:
            self.done = True
            whole = whole[:at]
        return whole if len(whole) <= self._limit else self._within_limit(whole)

    def _within_limit(self, whole: bytes) -> bytes:
        """The events before the first one that is too large."""
        start = 0
        for event in whole.split(b"\n\n"):
            if len(event) > self._limit:
                self._too_large()
                return whole[:start]
            start += len(event) + 2
        return whole


def is_normal(whole: bytes) -> bool:
    """Whether whole events are already one `data: ` line each: as many line ends as that takes."""
    return (
        whole.startswith(b"data: ")
        and whole.endswith(b"\n\n")
        and whole.count(b"\n") == 2 * whole.count(b"\n\ndata: ") + 2
        and b"\r" not in whole
    )


def _last_blank(data: bytes) -> int:
    """Where the last blank line of a stream with CR in it ends; 0 for none.

    A CR at the very end may be half of a CRLF; the LF that follows is then one more blank line,
    which says nothing.
    """
    last, line_start = 0, 0
    for match in LINE_END.finditer(data):
        if match.start() == line_start:
            last = match.end()
        line_start = match.end()
    return last


def normalise(whole: bytes) -> bytes:
    """Whole events rewritten as one `data: ` line each; those without data or of a foreign type
    are dropped. Several data lines of one event are joined: JSON does not mind where a line ends.
    """
    out, lines, kind = [], [], b""
    for line in LINE_END.split(whole):
        if line:
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                lines.append(value)
            elif name == b"event":
                kind = value.strip()
            continue
        if lines and kind in OURS:
            payload = b" ".join(lines)
            if kind == b"error" and b'"error"' not in payload:
                payload = b'{"error":%b}' % payload
            out.append(b"data: " + payload + b"\n\n")
        lines, kind = [], b""
    return b"".join(out)
