"""The server's side of HTTP/1.1, on httptools: strict, in order, and always listening.

- Requests that follow on the same connection wait as bytes; the connection is read all the while,
  so that a client that goes while its answer runs is noticed.
- The head, the URL and the time to send them are bounded, and what is refused here is refused in
  OpenAI's shape.
- A client that stops reading is dropped after `write_timeout`.

uvicorn's server runs it (`http=` in its configuration): sockets, signals, draining.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

import httptools

from h2o_relay.accounting.proof import Proof
from h2o_relay.errors import (
    HeadersTooLarge,
    InvalidRequest,
    RequestTimeout,
    URITooLong,
)
from h2o_relay.outbox import outbox_of
from h2o_relay.settings import Settings

from .answering import Answering
from .closing import Transport
from .deadline import Deadline
from .exchange import Exchange
from .flow import Flow
from .framing import HEAD_LIMIT, head_fault, target_of, without_upgrade
from .head import Head
from .refusing import Refusing
from .respond import Header

URL_LIMIT = 16 * 1024
PIPELINE_LIMIT = 64 * 1024  # bytes of requests kept while an answer runs
BODY_STEP = 16 * 1024  # bytes of a body that buy it `read_timeout` once more
BODY_AHEAD = 256 * 1024  # bytes of a body that are held for the application
MISSES = 4  # heads that did not come again, after which none is kept
KEEP_ALIVE = 75.0  # seconds that an idle connection is kept
log = logging.getLogger(__name__)


class RelayProtocol(Flow, Refusing, Answering, asyncio.Protocol):
    """One client's connection; a server has a subclass with its settings."""

    settings: ClassVar[Settings]
    _head: Head | None = None
    """Of the last request that was parsed, if the next one may repeat it."""
    _misses = 0
    proof: Proof | None = None
    """Who the last request was from (`KeyRing.find_again`)."""

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        self._app = config.loaded_app
        self._server = server_state
        self._loop: asyncio.AbstractEventLoop = _loop or asyncio.get_event_loop()
        self._outbox = outbox_of(self._loop)
        self._parser = httptools.HttpRequestParser(self)
        self.running: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        self._coming: Exchange | None = None  # its body is still on its way
        self._later: list[bytes] = []
        self._later_size = 0
        self._unread = 0  # bytes of a request since its clock was wound
        self._begun = False  # a request has begun to come and is not here yet
        self._in_head = True
        self._headers: list[Header] = []
        self._offer: bytes | None = None
        self._deadline = Deadline(self._loop, self._expired)
        self._reading = True
        self._last = False  # the connection ends with the answer that runs
        Flow.__init__(self, self._loop, self.settings.write_timeout)
        self.write: Callable[[bytes], None]

    # The connection

    def connection_made(self, transport: Any) -> None:
        patience = self.settings.write_timeout
        self.transport = Transport(transport, lambda: self._begun or self._refused, patience)
        self.write = self.transport.write
        self._server.connections.add(self)
        self._deadline.after(self.settings.read_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._deadline.cancel()
        self._gone()
        self.transport.lost()
        del self._parser  # the two hold each other, and would stay until garbage is collected

    def eof_received(self) -> None:
        self._outbox.flush()
        self._gone()

    def _gone(self) -> None:
        if self.running is not None:
            self.running.vanish()
        self._wake()  # the worker finds that the connection is closed
        self.resume_writing()
        self.write = _nowhere

    def shutdown(self) -> None:
        """The relay is stopping: no request after the one that runs."""
        self._outbox.flush()
        if self.running is None or self.transport.lingers:
            self.transport.close()
            if self.transport.lingers:
                self.transport.close()  # there is no time for half a request
        else:
            self._last = True
            self.running.keep_alive = False

    # Reading

    def data_received(self, data: bytes) -> None:
        if self._refused or self.transport.is_closing():
            return
        if self._later or (self.running is not None and not self._begun):
            self._keep(data)
            return
        fresh = not self._begun
        if fresh and self._head is not None and self._again(self._head, data):
            return
        self._unread += len(data)
        self._feed(data)
        if self._refused:
            return
        if fresh and self.running is not None and not self._begun:
            self._keep_head(self.running.head, data)
            return
        if self._in_head and self._unread > HEAD_LIMIT:
            self._refuse(HeadersTooLarge(f"The headers are larger than {HEAD_LIMIT} bytes."))
        elif self._begun:
            self._expect_more()

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as end:
                head, self._offer = self._offer, None
                if head is None:
                    return
                data = head + data[end.args[0] :]
            except httptools.HttpParserError:
                self._refuse(InvalidRequest("The request is not valid HTTP.", code="invalid_http"))
                return
            else:
                return

    def _again(self, head: Head, data: bytes) -> bool:
        """Whether this was a whole request with the head of the one before it: then it runs."""
        body = head.body_of(data)
        if body is None or self._last:
            return False
        self._deadline.stop()
        self._misses = 0
        self._start(Exchange.whole(self, head, body))
        return True

    def _keep_head(self, head: Head, data: bytes) -> None:
        """Remember the head of a request that came whole, while the client repeats itself."""
        if self._misses < MISSES:
            self._misses += 1
            self._head = head if head.keep(data) else None

    def _keep(self, data: bytes) -> None:
        """Requests that came before the answer to an earlier one is done wait as bytes."""
        self._later.append(data)
        self._later_size += len(data)
        if self._later_size > PIPELINE_LIMIT:
            self.abort()

    def _read_later(self) -> None:
        """What waited as bytes, and what uvloop has read since: it may do so before this call."""
        kept, self._later, self._later_size = self._later, [], 0
        self.data_received(b"".join(kept))

    def _expect_more(self) -> None:
        """Half a request is there: the rest has `read_timeout`, and again for enough of a body.
        What follows a request that is being answered has time.
        """
        if self.running is not None and self.running.complete:
            self._deadline.stop()
        elif not self._deadline.running or (not self._in_head and self._unread > BODY_STEP):
            if not self._in_head:
                self._unread = 0
            self._deadline.after(self.settings.read_timeout)

    def want_more(self) -> None:
        """The application has taken what there was of a body."""
        if not self._reading:
            self._reading = True
            self.transport.resume_reading()

    # The parser's callbacks

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._begun = self._in_head = True
        if self.running is None:
            self._deadline.stop()  # it is wound again if the rest does not come at once

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > URL_LIMIT:
            self._refuse(URITooLong(f"The URL is longer than {URL_LIMIT} bytes."))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._refused:
            return
        error = head_fault(self._headers, self._unread)
        if error is not None:
            self._refuse(error)
        elif self._parser.should_upgrade():
            self._pass_upgrade_by()
        else:
            self._begin()

    def _pass_upgrade_by(self) -> None:
        """The parser stops at the end of this head; `_feed` goes on with one without the offer."""
        method, version = self._parser.get_method(), self._parser.get_http_version()
        if method == b"CONNECT":
            self._refuse(InvalidRequest("The relay is no proxy of that kind.", code="invalid_http"))
        else:
            self._offer = without_upgrade(method, self._url, version, self._headers)

    def _begin(self) -> None:
        """A request's head is here: it is answered now, or when its turn comes."""
        parser, headers = self._parser, self._headers
        version = parser.get_http_version()
        try:
            path, query = target_of(self._url)
        except (ValueError, AttributeError, httptools.HttpParserError):
            self._refuse(InvalidRequest("The request's URL is not valid.", code="invalid_url"))
            return
        keep_alive = version != "1.0" and parser.should_keep_alive() and not self._last
        method = parser.get_method().decode("ascii")
        exchange = Exchange(self, Head(method, path, version, headers, keep_alive, query))
        self._in_head = False
        self._coming = exchange
        if self.running is None:
            self._start(exchange)
        else:
            self._queue.append(exchange)

    def on_body(self, body: bytes) -> None:
        coming = self._coming
        if self._refused or coming is None:
            return
        coming.feed(body)
        held = coming.held
        if coming is not self.running:
            if held > PIPELINE_LIMIT:
                self.abort()
        elif held > BODY_AHEAD and self._reading and not coming.wanted:
            self._reading = False
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._refused or self._offer is not None:
            return
        self._begun, self._unread = False, 0
        if self.running is self._coming:
            self._deadline.stop()
        if not self._reading:
            self.want_more()  # nobody else may: a client that goes must be noticed all the same
        if self._coming is not None:
            self._coming.end_of_request()
            self._coming = None

    # Answering (`answering.py`)

    def write_whole(self, data: bytes) -> None:
        """An answer after which the connection goes on; with those of others, where nothing else
        may be written to it before.
        """
        if self._queue or self._later or self._late is not None:
            self.write(data)
        else:
            self._outbox.put(self.transport, data)

    def finished(self, exchange: Exchange) -> None:
        """The answer is written."""
        self._server.total_requests += 1
        self.running = None
        if not exchange.keep_alive or not exchange.complete:
            self.transport.close()
        elif self._queue:
            self._start(self._queue.popleft())
            if self._begun:
                self._expect_more()
        elif self._late is not None:
            self._last_words(*self._late)
        elif self._later:
            self._loop.call_soon(self._read_later)
        elif self._begun:
            self._expect_more()
        else:
            self._deadline.after(KEEP_ALIVE)

    def _expired(self) -> None:
        if self.transport.is_closing():
            return
        if not self._begun:  # idle, or it never said a word
            self.transport.close()
        else:
            self._refuse(RequestTimeout("The request did not arrive in time."))


def _nowhere(data: bytes) -> None:
    """Writes to nobody."""
