"""From the bytes of a response stream to the container's own events.

Outside is `application/vnd.amazon.eventstream`: frames with a prelude, headers and checksums, which
botocore reads. A frame of type PayloadPart holds a piece of what the container wrote, cut anywhere;
put together, the pieces are server-sent events (TGI, vLLM) or JSON lines (LMI).
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from typing import Any

import orjson

from h2o_relay.errors import (
    UpstreamBadResponse,
    UpstreamDisconnected,
    UpstreamIncomplete,
    UpstreamResponseTooLarge,
)

from .failures import stream_error

MEDIA_TYPE = "application/vnd.amazon.eventstream"
BOM = b"\xef\xbb\xbf"
FIELD_NAMES = frozenset({b"data", b"event", b"id", b"retry", b""})
OPENING, CLOSING = (b"{", b"["), (b"}", b"]")  # of JSON that is an event
log = logging.getLogger(__name__)


class Frames:
    """Feed it the response's bytes, take the payload parts."""

    def __init__(self, endpoint: str) -> None:
        from botocore.eventstream import EventStreamBuffer, ParserError

        self._endpoint = endpoint
        self._buffer = EventStreamBuffer()
        # The parser checks sums, not sizes or types, and then fails as any code would.
        self._broken = (ParserError, struct.error, UnicodeDecodeError, KeyError, IndexError)
        self._open = 0  # bytes of a frame that is not whole yet

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The payload parts that `data` completes. Raises what the stream reports."""
        self._open += len(data)
        self._buffer.add_data(data)
        while True:
            try:
                frame = next(self._buffer, None)
            except self._broken as error:
                raise UpstreamBadResponse(
                    f"the event stream of SageMaker endpoint {self._endpoint} is damaged"
                ) from error
            if frame is None:
                return
            self._open -= frame.prelude.total_length
            part = self._read(frame.headers, frame.payload)
            if part:
                yield part

    def end(self) -> None:
        """Raises UpstreamDisconnected if the stream ends within a frame."""
        if self._open:
            raise UpstreamDisconnected(
                f"the stream of SageMaker endpoint {self._endpoint} ended in the middle"
            )

    def _read(self, headers: dict[str, Any], payload: bytes) -> bytes:
        if headers.get(":message-type") != "event":
            raise stream_error(headers, payload, self._endpoint)
        if headers.get(":event-type") == "PayloadPart":
            return payload
        # New event types may come at any time; they hold none of the container's bytes.
        log.debug("event of type %s left out", headers.get(":event-type"))
        return b""


class Events:
    """Feed it the container's bytes, take its events: JSON as bytes, and decoded.

    `limit` bounds the bytes of one event. `framed` is true once a line was a server-sent event's.
    """

    def __init__(self, limit: int, endpoint: str) -> None:
        self._limit = limit
        self._endpoint = endpoint
        self._rest = b""
        self._lines: list[bytes] = []
        self._first = True
        self.framed = False

    def feed(self, data: bytes) -> Iterator[tuple[bytes, Any]]:
        """The events that `data` completes; `[DONE]` is left out."""
        data = self._rest + data
        if self._first:
            if len(data) < len(BOM) and BOM.startswith(data):
                self._rest = data
                return
            data, self._first = data.removeprefix(BOM), False
        *lines, self._rest = data.split(b"\n")
        for line in lines:
            yield from self._line(line)
        self._check(len(self._rest))

    def end(self) -> Iterator[tuple[bytes, Any]]:
        """The event of a last line without an end. Raises UpstreamIncomplete for half an event."""
        rest, self._rest = self._rest, b""
        yield from self._line(rest)
        if self._lines:
            raise UpstreamIncomplete(
                f"the container of SageMaker endpoint {self._endpoint} stopped within an event"
            )

    def _line(self, line: bytes) -> Iterator[tuple[bytes, Any]]:
        line = line.strip()
        if not line:
            if self.framed and self._lines:
                raise self._foreign()
            return
        if not self._lines and not self.framed and not line.startswith(OPENING):
            self.framed = True
        if self.framed:
            name, colon, value = line.partition(b":")
            if not colon or name not in FIELD_NAMES:
                raise self._foreign()
            line = value.strip() if name == b"data" else b""
        if not line or line == b"[DONE]":
            return
        self._lines.append(line)
        text = b" ".join(self._lines)
        self._check(len(text))
        if not line.endswith(CLOSING):
            return
        try:
            event = orjson.loads(text)
        except orjson.JSONDecodeError:
            return  # more of it may follow
        self._lines = []
        yield text, event

    def _foreign(self) -> UpstreamBadResponse:
        return UpstreamBadResponse(
            f"the container of SageMaker endpoint {self._endpoint} streams neither server-sent "
            "events nor JSON lines"
        )

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise UpstreamResponseTooLarge(f"an event of the stream is over {self._limit} bytes")
