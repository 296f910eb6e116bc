"""Events that go on in the very chunks of HTTP in which they came (RFC 9112, 7.1).

A server that streams writes each event as a chunk: its length in hexadecimal digits, a line end,
the event, a line end. A caller's answer has the same framing. So a chunk whose event fits the
pattern is handed on as it is, and the parser does not see it: it stands between two chunks before
and after. Chunks that came together are handed on together.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from .pattern import ORDINARY, Pattern, plain
from .sse import Splitter

if TYPE_CHECKING:
    from .http import Response
    from .types import Request

LINE_END = b"\r\n"
SIZE = re.compile(rb"([0-9A-Fa-f]{1,7})\r\n")
SHORT = 1024  # bytes of an event whose size line is at hand


class Sink(Protocol):
    """The connection of a caller who is answered in chunks."""

    full: bool
    """The caller does not read as fast as it is written to."""
    write: Callable[[bytes], None]


class Count(Protocol):
    """Of what a caller was given."""

    pieces: int
    last: bytes | None


class Passage:
    """Where chunks go, and what is said of them."""

    __slots__ = ("count", "rename", "sink")

    def __init__(
        self, sink: Sink, count: Count, rename: Callable[[bytes], bytes] | None = None
    ) -> None:
        """`rename` is done to the caller's events; what it replaces stands in no text."""
        self.sink = sink
        self.count = count
        self.rename = rename


def stands_between(data: bytes, piece: bytes) -> bool:
    """Whether a parser that took `data`, and last gave `piece` of it, stands between two chunks.

    It does where the piece and a line end are the end of `data`. The piece ends with LF and has no
    CR in it: what follows it is framing, where no LF is taken without its CR, so that it cannot be
    found there once more.
    """
    return data.endswith(piece + LINE_END) and piece.endswith(b"\n") and b"\r" not in piece


def size_lines() -> dict[int, bytes]:
    """The size lines of short chunks, as most servers write them, by a chunk's whole length."""
    lines = (b"%x\r\n" % size for size in range(1, SHORT + 1))
    return {len(line) + size + len(LINE_END): line for size, line in enumerate(lines, 1)}


class Frames:
    """The chunks that have one event of a pattern in them each, as the pattern is now."""

    def __init__(self, pattern: Pattern, limit: int, passage: Passage) -> None:
        """`limit` is of an event's bytes, SHORT at least."""
        self._before, self._after = pattern.before, pattern.after + LINE_END
        self._limit = limit
        self._passage = passage
        rename = passage.rename
        self._anew = None if rename is None else self._renamed(rename)

    def taker(self) -> Callable[[bytes], bytes]:
        """What hands on the chunks at the beginning of what it is shown, and gives back the rest.

        This is what a token costs: one call, with all that it needs at hand.
        """
        passage, before, after = self._passage, self._before, self._after
        sink, count = passage.sink, passage.count
        find = _LINES.get
        anew, several = self._anew, self._several
        around = len(before) + len(after)

        def take(data: bytes) -> bytes:
            if sink.full:
                return data
            line = find(len(data))
            if line is None:
                return several(data)
            # All three are there if so much is left: what is not there is not taken away.
            text = data.removeprefix(line).removeprefix(before).removesuffix(after)
            if len(line) + around + len(text) != len(data):
                return several(data)
            if text.translate(ORDINARY) != text and not plain(text):
                return data
            sink.write(data if anew is None else anew(text))
            count.pieces += 1
            count.last = data
            return b""

        return take

    def _several(self, data: bytes) -> bytes:
        """The same for any number of chunks, of any length, with size lines of any style."""
        before, after, gone = self._before, self._after, 0
        texts: list[bytes] = []
        while (size := SIZE.match(data, gone)) is not None:
            start = size.end()
            length = int(size[1], 16)
            end = start + length + len(LINE_END)
            first, last = start + len(before), end - len(after)
            if first > last or length > self._limit or not data.startswith(before, start):
                break
            text = data[first:last]
            if data[last:end] != after or not plain(text):
                break
            texts.append(text)
            gone = end
        if texts:
            anew, passage = self._anew, self._passage
            good = data[:gone]
            passage.sink.write(good if anew is None else b"".join(map(anew, texts)))
            passage.count.pieces += len(texts)
            passage.count.last = good
        return data[gone:]

    def _renamed(self, rename: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        """What makes the chunk of a text for a caller who knows the model by another name."""
        before, after = rename(self._before), rename(self._after)
        size = len(before) + len(after) - len(LINE_END)
        return lambda text: b"%x\r\n%b%b%b" % (size + len(text), before, text, after)


_LINES = size_lines()


def offer(
    response: Response, request: Request, splitter: Splitter, pattern: Pattern, limit: int
) -> None:
    """Let what is like the events before it go on without a turn of anybody's task."""
    frames = None
    if request.passage is not None and splitter.between and pattern.before and limit >= SHORT:
        frames = Frames(pattern, limit, request.passage).taker()
    assert request.direct is not None
    response.offer(passed(request.direct, splitter, pattern, limit), frames)


def passed(
    direct: Callable[[bytes], bool], splitter: Splitter, pattern: Pattern, limit: int
) -> Callable[[bytes], bool]:
    """What hands on an event like the ones before it."""

    def taker(data: bytes) -> bool:
        fits = len(data) <= limit and splitter.between and pattern.fits(data)
        return fits and direct(data)

    return taker
