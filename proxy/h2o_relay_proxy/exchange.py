"""One request and its answer on a connection, as handlers see them.

No ASGI in between: its dictionaries and awaited messages were a fifth of what a plain request costs
(docs/architecture.md). A whole answer is one call and one write; a stream is `begin`, `write` and
`end`. A client that goes cancels the handler between `attend`
and `leave`.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from h2o_relay.accounting.caller import OPEN, Caller
from h2o_relay.errors import RelayError, RequestTooLarge

from .head import Head
from .respond import JSON, Header, new_id

if TYPE_CHECKING:
    from h2o_relay.accounting.permits import Permit
    from h2o_relay.accounting.proof import Proof
    from h2o_relay.answer import Answer
    from h2o_relay.chunks import Completion
    from h2o_relay.forwarding import Forwarded
    from h2o_relay.frames import Sink
    from h2o_relay.tries import Tries

    from .protocol import RelayProtocol
    from .seeing.tracing import Trace

PHRASES = {status.value: status.phrase for status in HTTPStatus}
STATUS_LINES = {s: f"HTTP/1.1 {s} {PHRASES.get(s, '')}\r\n".encode() for s in range(200, 600)}
"""An upstream's status may be any, 499 as well."""
LAST = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Streams(Protocol):
    streams: int


class ClientGone(Exception):
    """The client left before it had sent its request."""


class Exchange:
    """Made by the connection when a request's head is there."""

    complete = False
    """The whole request is here."""
    taken = False
    """The connection's worker has it."""
    started = False
    """Something of the answer was written, or is about to be."""
    answered = False
    gone = False
    """The client left before the answer was done."""
    background = False
    """Its answer has no end of its own: nobody waits for it when the relay leaves."""
    wanted = False
    """The handler waits for the body: it need not be held back."""
    answer: Answer | Completion | Forwarded | None = None
    """What a server says to it, once one does."""
    caller: Caller = OPEN
    code: str | None = None
    """That of the error that it was answered with, or ended with."""
    cut_by: RelayError | None = None
    """Why its answer is to end early."""
    ends: tuple[bytes, bytes] = (b"", b"")
    """The beginning and the end of an answer that was passed on."""
    model: Any = None
    """What it asks for by that name."""
    more = b""
    """Headers of its answer, encoded, whatever that is."""
    permit: Permit | None = None
    reserved = 0.0
    """What it was estimated to cost when it was let in, for callers with a budget."""
    status = 0
    """Of its answer, once that has begun."""
    streamed = False
    streams: Streams | None = None
    """Counts the streams that have begun."""
    trace: Trace | None = None
    tries: Tries | None = None
    """At servers, once there is one."""
    to_anthropic = False
    """The caller speaks Anthropic's API, which has another name for the request's id."""
    shared = b""
    """Encoded headers of the answer that say which pages may read it (`cors.py`)."""
    held = 0
    """Bytes of the body that are here."""
    _attended = False
    _cut = False  # the worker was cancelled because the client had gone
    _chunked = False
    _head: bytes | None = None  # a stream's, until its first piece
    _waiter: asyncio.Future[None] | None = None

    def __init__(self, protocol: RelayProtocol, head: Head) -> None:
        self._protocol = protocol
        self._pieces: list[bytes] = []
        self.head = head
        self.method = head.method
        self.path = head.path
        self.headers = fields = head.fields
        self.keep_alive = head.keep_alive
        self.came = monotonic()
        self.id = new_id(fields.get(b"x-request-id"))

    @classmethod
    def whole(cls, protocol: RelayProtocol, head: Head, body: bytes) -> Exchange:
        """Of a request all of which is here."""
        exchange = cls(protocol, head)
        exchange._pieces.append(body)
        exchange.held, exchange.complete = len(body), True
        return exchange

    @property
    def query(self) -> bytes:
        return self.head.query

    @property
    def header_list(self) -> list[Header]:
        return self.head.headers

    @property
    def name(self) -> str:
        """The request's id, for logs and messages."""
        return self.id.decode()

    @property
    def has_body(self) -> bool:
        length = self.headers.get(b"content-length", b"0")
        return length != b"0" or b"transfer-encoding" in self.headers

    @property
    def proof(self) -> Proof | None:
        """Who the connection's last request was from."""
        return self._protocol.proof

    @proof.setter
    def proof(self, proof: Proof) -> None:
        self._protocol.proof = proof

    # The connection's side.

    def feed(self, data: bytes) -> None:
        self._pieces.append(data)
        self.held += len(data)
        if self._waiter is not None:
            self._wake()

    def end_of_request(self) -> None:
        self.complete = True
        if self._waiter is not None:
            self._wake()

    def vanish(self) -> None:
        """The client has gone."""
        if self.gone or self.answered:
            return
        self.gone = True
        self._wake()
        if self._attended:
            self._cut = self._protocol.cancel_worker()

    def refuse(self, error: RelayError) -> None:
        """The connection itself answers it: the rest of it is not there, or is no HTTP."""
        self.status, self.code = error.status, error.code
        self.vanish()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The request.

    def ready_body(self, limit: int) -> bytes | None:
        """The body if all of it is here, without waiting. Raises RequestTooLarge."""
        if not self.complete:
            return None
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces = []
        if len(body) > limit:
            raise too_large(limit)
        return body

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises RequestTooLarge, as early as it is known, or ClientGone."""
        length = self.headers.get(b"content-length")
        if length is not None and int(length) > limit:
            raise too_large(limit)
        self.wanted = True
        self._protocol.want_more()
        while not self.complete:
            if self.gone:
                raise ClientGone
            if self.held > limit:
                raise too_large(limit)
            if not self.held and self._expects_continue():
                self._protocol.write(CONTINUE)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        body = self.ready_body(limit)
        assert body is not None
        return body

    def _expects_continue(self) -> bool:
        """The client waits for our word before it sends the body (RFC 9110, 10.1.1)."""
        expected = self.headers.get(b"expect", b"").lower() == b"100-continue"
        return expected and self.head.version != "1.0"

    def attend(self) -> None:
        """From now on the client's going cancels the handler. Raises ClientGone if it has gone."""
        if self.gone:
            raise ClientGone
        self._attended = True

    def cut(self, error: RelayError) -> None:
        """End its answer, wherever it is, with an error."""
        if not self.answered and not self.gone and self.cut_by is None:
            self.cut_by, self.keep_alive = error, False
            self._protocol.cancel_worker()

    def leave(self) -> bool:
        """The client is no longer attended; whether its going has cancelled the handler."""
        self._attended = False
        if self._cut:
            self._protocol.uncancel_worker()
        return self._cut

    def stay(self) -> None:
        """It answers for as long as the caller listens."""
        self.background = True
        self._protocol.uncount()

    # The answer.

    def reply(
        self, body: bytes, status: int = 200, block: bytes = JSON, extra: bytes = b""
    ) -> None:
        """The whole answer. `block` and `extra` are encoded headers, a line end after each."""
        if self.gone:
            return
        if self.started:
            raise RuntimeError("an answer has one head")
        self.started, self.status = True, status
        if self.more:
            extra += self.more
        if self.to_anthropic:
            extra += b"request-id: %b\r\n" % self.id
        more = b"content-length: %d\r\nx-request-id: %b\r\n" % (len(body), self.id)
        if not self.keep_alive or b"connection: close" in extra:
            self.keep_alive = False
            more = more if b"connection: close" in extra else more + b"connection: close\r\n"
        parts = (
            STATUS_LINES[status], self._protocol.standing, self.shared, block, more, extra, b"\r\n",
        )  # fmt: skip
        head = b"".join(parts)
        data = head if self.method == "HEAD" else head + body
        if self.keep_alive and self.complete:
            self._protocol.write_whole(data)
        else:
            self._protocol.write(data)
        self._done()

    def begin(self, block: bytes, extra: bytes = b"") -> None:
        """The head of a stream of unknown length; it goes out together with the first piece."""
        if self.started:
            raise RuntimeError("an answer has one head")
        self.started, self.status, self.streamed = True, 200, True
        if self.streams is not None:
            self.streams.streams += 1
        if self.more:
            extra += self.more
        if self.to_anthropic:
            extra += b"request-id: %b\r\n" % self.id
        self._chunked = self.head.version != "1.0"
        framing = b"transfer-encoding: chunked\r\n"
        if not self._chunked or not self.keep_alive:
            self.keep_alive = False
            framing = framing * self._chunked + b"connection: close\r\n"
        parts = (STATUS_LINES[200], self._protocol.standing, self.shared, block, framing)
        self._head = b"%bx-request-id: %b\r\n%b\r\n" % (b"".join(parts), self.id, extra)

    @property
    def full(self) -> bool:
        """The client has not read enough of what was written: await `drained` before more."""
        return self._protocol.full and not self.gone

    async def drained(self) -> None:
        await self._protocol.drained()

    def write(self, data: bytes) -> None:
        """A piece of a stream."""
        if not self.gone and data:
            self._protocol.write(self._framed(data))

    def _framed(self, data: bytes) -> bytes:
        head, self._head = self._head, None
        if self._chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        return data if head is None else head + data

    def take(self, data: bytes) -> bool:
        """`write`, unless the client has not read enough of what was written."""
        if self._protocol.full:
            return False
        self.write(data)
        return True

    @property
    def sink(self) -> Sink | None:
        """Where chunks may be written as they are, after the first piece; None if it has none."""
        return self._protocol if self._chunked else None

    def end(self, data: bytes) -> None:
        """The last piece of a stream."""
        if self.gone:
            return
        last = self._framed(data)
        self._protocol.write(last + LAST if self._chunked else last)
        self._done()

    def _done(self) -> None:
        self.answered = True
        self._protocol.finished(self)


def too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"The request is larger than {limit} bytes.")
