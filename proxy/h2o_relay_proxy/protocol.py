"""uvicorn's HTTP protocol, made strict and attentive.

- A request that follows on the same connection is kept, unread by the application, without closing
  our ears: a client that goes while its first answer runs is noticed all the same.
- The head, the URL and the time to send both are bounded, and what is refused here is refused in
  OpenAI's shape.
- A client that stops reading is dropped after `write_timeout`.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from h2o_relay.errors import (
    HeadersTooLarge,
    InvalidRequest,
    RelayError,
    RequestTimeout,
    URITooLong,
)
from h2o_relay.settings import Settings

from .respond import JSON

HEAD_LIMIT = 64 * 1024  # bytes of all headers
HEADER_COUNT = 100
URL_LIMIT = 16 * 1024
PIPELINE_LIMIT = 64 * 1024  # bytes of requests kept while an answer runs
BODY_RATE = 64 * 1024  # bytes of a body that buy one more second
REASONS = {400: b"Bad Request", 408: b"Request Timeout", 414: b"URI Too Long"}
REASONS[431] = b"Request Header Fields Too Large"


class RelayProtocol(HttpToolsProtocol):
    """Use `with_settings` to get a class for a server."""

    settings: ClassVar[Settings]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clock: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._running: Any = None
        self._later: list[bytes] = []
        self._later_size = 0
        self._head_size = 0
        self._in_head = True
        self._refused = False

    # Reading

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wind(self.settings.read_timeout)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return None
        if self._answering() and not self.cycle.more_body:
            self._keep(data)
            return None
        if self._in_head:
            self._head_size += len(data)
            if self._head_size > HEAD_LIMIT + self.settings.max_body:
                return self._refuse(HeadersTooLarge("The request's head is too large."))
            if self._clock is None:
                self._wind(self.settings.read_timeout)
        try:
            super().data_received(data)
        except httptools.HttpParserError:  # raised by a callback of ours
            pass
        if self.pipeline:
            self.flow.resume_reading()  # uvicorn would stop listening here
        return None

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _keep(self, data: bytes) -> None:
        """Requests that came before the answer to an earlier one is done wait as bytes."""
        self._later.append(data)
        self._later_size += len(data)
        if self._later_size > PIPELINE_LIMIT:
            self.transport.abort()

    def _refuse(self, error: RelayError) -> None:
        """Answer in OpenAI's shape and close."""
        if self._refused:
            return
        self._refused = True
        self._unwind()
        if self._answering():
            self.transport.abort()
            return
        body = error.encoded()
        lines = [b"HTTP/1.1 %d %b" % (error.status, REASONS.get(error.status, b""))]
        lines += [b"%b: %b" % header for header in JSON]
        lines += [b"content-length: %d" % len(body), b"connection: close", b"", b""]
        self.transport.write(b"\r\n".join(lines) + body)
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        self._refuse(InvalidRequest("The request is not valid HTTP.", code="invalid_http"))

    # The parser's callbacks

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > URL_LIMIT:
            self._refuse(URITooLong(f"The URL is longer than {URL_LIMIT} bytes."))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        too_many = len(self.headers) > HEADER_COUNT
        if too_many or len(name) + len(value) > HEAD_LIMIT or not _plain(value):
            self._refuse(HeadersTooLarge("The request has too many or too large headers."))

    def on_headers_complete(self) -> None:
        if self._refused:
            return
        if sum(len(n) + len(v) for n, v in self.headers) > HEAD_LIMIT:
            self._refuse(HeadersTooLarge(f"The headers are larger than {HEAD_LIMIT} bytes."))
            return
        try:
            super().on_headers_complete()
        except (ValueError, httptools.HttpParserError):
            self._refuse(InvalidRequest("The request's URL is not valid.", code="invalid_url"))
            return
        self._in_head = False
        self._head_size = 0
        self._wind(self.settings.read_timeout)

    def on_body(self, body: bytes) -> None:
        if self._refused:
            return
        super().on_body(body)
        if self._clock is not None and len(body) >= BODY_RATE:
            self._wind(self.settings.read_timeout + len(body) / BODY_RATE)

    def on_message_complete(self) -> None:
        if self._refused:
            return
        self._unwind()
        super().on_message_complete()

    # Answering

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._later and not self.pipeline and not self.transport.is_closing():
            data, self._later, self._later_size = b"".join(self._later), [], 0
            self.data_received(data)

    def eof_received(self) -> None:
        self._gone()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwind()
        if self._stalled is not None:
            self._stalled.cancel()
        self._gone()
        super().connection_lost(exc)

    def _gone(self) -> None:
        """Tell the answer that runs, not only the request that came last."""
        cycle = self._running
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            self.flow.resume_writing()

    # Clocks

    def _wind(self, seconds: float) -> None:
        if self._clock is not None:
            self._clock.cancel()
        self._clock = self.loop.call_later(seconds, self._too_slow)

    def _unwind(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _too_slow(self) -> None:
        self._clock = None
        if self.cycle is None and not self._head_size:  # it never said a word
            self.transport.close()
        elif self._answering() and self.cycle.more_body:
            self.cycle.keep_alive = False
            self._gone_slow()
        else:
            self._refuse(RequestTimeout("The request did not arrive in time."))

    def _gone_slow(self) -> None:
        """The application waits for a body that does not come: it is told that nobody is there."""
        cycle = self.cycle
        if not cycle.response_started:
            cycle.response_complete = True
            cycle.message_event.set()
            self._refuse(RequestTimeout("The request's body did not arrive in time."))
        else:
            self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.settings.write_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


def with_settings(settings: Settings) -> type[RelayProtocol]:
    """The protocol class for a server with these settings."""
    return type("BoundRelayProtocol", (RelayProtocol,), {"settings": settings})


def _plain(value: bytes) -> bool:
    return value.isascii()
