"""uvicorn's HTTP protocol, made strict and attentive.

- A request that follows on the same connection is kept, unread by the application, without closing
  our ears: a client that goes while its first answer runs is noticed all the same.
- The head, the URL and the time to send both are bounded, and what is refused here is refused in
  OpenAI's shape.
- A client that stops reading is dropped after `write_timeout`.
"""

from __future__ import annotations

import asyncio
import contextlib
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
BODY_STEP = 16 * 1024  # bytes of a body that buy it `read_timeout` once more
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
        self._unread = 0  # bytes of a request since its clock was wound
        self._in_head = True
        self._refused = False

    # Reading

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wind(self.settings.read_timeout)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._answering() and not self.cycle.more_body:
            self._keep(data)
            return
        self._unread += len(data)
        with contextlib.suppress(httptools.HttpParserError):  # raised by a callback of ours
            super().data_received(data)
        if self._refused:
            return
        if self._in_head and self._unread > HEAD_LIMIT:
            self._refuse(HeadersTooLarge(f"The headers are larger than {HEAD_LIMIT} bytes."))
        elif self._in_head or self.cycle.more_body:
            self._expect_more()
        if self.pipeline:
            self.flow.resume_reading()  # uvicorn would stop listening here

    def _expect_more(self) -> None:
        """Half a request is there: the rest has `read_timeout`, and again for enough of a body."""
        if self._clock is None or (not self._in_head and self._unread > BODY_STEP):
            self._unread = 0 if not self._in_head else self._unread
            self._wind(self.settings.read_timeout)

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
        if self._running is not None and self._running.response_started and self._answering():
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
        if not value.isascii():
            self._refuse(InvalidRequest("A header is not ASCII.", code="invalid_header"))
        elif len(self.headers) > HEADER_COUNT:
            self._refuse(HeadersTooLarge(f"There are more than {HEADER_COUNT} headers."))

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

    def on_body(self, body: bytes) -> None:
        if self._refused:
            return
        super().on_body(body)
        if self.pipeline and len(self.cycle.body) > PIPELINE_LIMIT:
            self.transport.abort()

    def on_message_complete(self) -> None:
        if self._refused:
            return
        self._unwind()
        self._unread = 0
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
        late = RequestTimeout("The request did not arrive in time.")
        if self._in_head and not self._unread:  # it never said a word
            self.transport.close()
        elif self._answering() and not self.cycle.response_started:
            self._gone()  # the application waits for a body that does not come
            self._refuse(late)
        else:
            self._refuse(late)

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
