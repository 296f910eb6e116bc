"""One HTTP/1.1 connection to an upstream, and the response being read from it.

Framing is httptools' (llhttp, strict): a response with both Content-Length and Transfer-Encoding,
two lengths or a junk status line is refused. What this adds: 1xx answers are skipped, the head is
bounded, reading pauses while nobody takes the bytes, and one timer watches three clocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httptools

from .errors import (
    RelayError,
    UpstreamBadResponse,
    UpstreamDisconnected,
)
from .frames import stands_between
from .http_answer import Incoming
from .http_body import read_all
from .http_clocks import FOREVER
from .http_known import KnownHead
from .outbox import outbox_of

HEAD_LIMIT = 64 * 1024  # bytes of a response's head
HIGH_WATER = 64 * 1024  # bytes held for a reader before the upstream is held back
DRAIN_SECONDS = 1.0  # for the end of a message whose reader has all it wanted


class Connection(Incoming, asyncio.Protocol):
    """Reused for one exchange after another; `start` begins one."""

    __slots__ = (
        "__weakref__", "_between", "_frames", "_most", "_outbox", "_paused", "_released", "_taker",
        "_transport", "closed", "idle_since",
    )  # fmt: skip

    def __init__(
        self, loop: asyncio.AbstractEventLoop, released: Callable[[Connection], None],
        known: KnownHead,
    ) -> None:  # fmt: skip
        """`released` is told when it is idle and when it is closed; `known` is its origin's."""
        super().__init__(known)
        self._loop = loop
        self._outbox = outbox_of(loop)
        self._released = released
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._fires = FOREVER
        self._most = -1
        self.closed = False
        self.idle_since = 0.0
        # Back to this whenever an exchange has ended well.
        self._paused = False
        self._draining = False
        self._taker: Callable[[bytes], bool] | None = None
        self._frames: Callable[[bytes], bytes] | None = None
        self._between = False  # the parser stands between two chunks that `_frames` may see

    # The exchange, as the client sees it.

    def start(
        self, data: bytes, first_byte: float, idle: float, total: float | None, most: int = -1
    ) -> None:
        """Send a request and start its clocks (seconds). A reader who wants all of a good answer
        or none is not woken while no more than `most` bytes of it have come (at most HIGH_WATER).
        """
        self._most = most
        self.status = self.received = 0
        self.complete = self.has_head = self._body = self._until_eof = False
        self._idle, self._last = idle, (now := self._loop.time())
        self._first_deadline = due = now + first_byte
        self._total_deadline = FOREVER
        if total is not None:
            self._total_deadline = end = now + total
            due = min(due, end)
        if due < self._fires:
            self._watch(due)
        if self._dirty:
            self._fail(UpstreamBadResponse("the upstream server does not speak HTTP"))
        elif self._transport is None or self.closed:
            self._fail(UpstreamDisconnected("the upstream server closed the connection"))
        else:
            self._outbox.put(self._transport, data)

    def write(self, data: bytes) -> None:
        """More of a request; what it began with may wait in the outbox."""
        self._outbox.flush()
        if self._transport is None or self.closed:
            self._fail(UpstreamDisconnected("the upstream server closed the connection"))
        else:
            self._transport.write(data)

    async def drain(self) -> bool:
        """Wait until the upstream has taken most of what was written; whether it wants more.

        It does not once it has said no, answered in full, or gone. A request that is left
        unfinished for that ends its connection.
        """
        await self._can_write.wait()
        if self._error is None and not self.complete and self.status < 300:
            return True
        self._keep_alive = False
        return False

    def more(self) -> asyncio.Future[None]:
        """What to await for the next bytes. Raises what broke the message off."""
        if self._error is not None:
            raise self._error
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def __aiter__(self) -> Connection:
        return self

    async def __anext__(self) -> bytes:
        """All body bytes that have arrived; never empty. Raises what broke the message off."""
        while not self._pieces:
            if self.complete and self._error is None:
                raise StopAsyncIteration
            await self.more()
        data = b"".join(self._take())
        if self._paused:
            self._paused = False
            self._last = self._loop.time()
            if self._transport is not None and not self.closed:
                self._transport.resume_reading()
        return data

    def _take(self) -> list[bytes]:
        pieces, self._pieces, self._held = self._pieces, [], 0
        return pieces

    def ready(self, limit: int) -> bytes | None:
        """The whole body, if it has come and has no more than `limit` bytes; `read` knows else."""
        if self.complete and self._held <= limit and self._error is None:
            pieces, self._pieces, self._held = self._pieces, [], 0
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return None

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises UpstreamResponseTooLarge past `limit` bytes."""
        body = self.ready(limit)
        return await read_all(self, limit) if body is None else body

    def offer(
        self, taker: Callable[[bytes], bool], frames: Callable[[bytes], bytes] | None = None
    ) -> None:
        """Show what arrives to `taker` while a reader waits for it: what that takes costs no turn
        of the reader's task. `frames` sees whole chunks of a chunked body first, as they are,
        and gives back the rest.
        """
        self._taker, self._frames = taker, frames

    def finish(self, *, whole: bool) -> None:
        """End the exchange. `whole` says that the reader has all that it wanted, so that the rest
        of the message may be awaited for a moment to keep the connection.
        """
        self._taker = self._frames = None
        if self.complete and self._error is None:
            self._to_pool()
        elif whole and not self._until_eof and self._error is None and not self.closed:
            self._draining = True
            self._pieces = []
            if self._paused and self._transport is not None:
                self._paused = False
                self._transport.resume_reading()
            self._drain_deadline = self._loop.time() + DRAIN_SECONDS
            self._watch(self._drain_deadline)
        else:
            self.abort()

    def abort(self, reason: RelayError | None = None) -> None:
        """Close at once; an upstream in mid-answer sees its client go, a reader gets `reason`."""
        self._unwatch()
        if self._error is None and not self.complete:
            self._error = reason
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def _to_pool(self) -> None:
        transport = self._transport
        if self.closed or self._dirty or not self._keep_alive or transport is None:
            self.abort()
            return
        if transport.get_write_buffer_size():  # it answered without reading the request
            self.abort()
            return
        if self._paused:
            self._paused = False
            transport.resume_reading()
        self.idle_since = self._last  # the server counts from its last byte, too
        self._released(self)

    # Waiting and failing: `_waiter` is there while a reader waits.

    def _fail(self, error: RelayError) -> None:
        if self._error is None and not self.complete:
            self._error = error
        self.abort()
        self._can_write.set()
        self._wake()

    # asyncio.Protocol

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._between and self._waiter is not None and self._frames is not None:
            data = self._frames(data)
            if not data:
                self._last = self._loop.time()
                return
        self._between = False
        if self.complete:  # nobody asked for this
            self._dirty = True
            if self.idle_since:
                self.abort()
            return
        self._last = self._loop.time()
        first = not self.received
        self.received += len(data)
        if first:
            body = self._known.body(data)
            if body is not None:
                self._came_whole(body)
                return
            self._headers, self._pieces, self._held = {}, [], 0
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self.complete:
                self._dirty = True
            else:
                self._fail(UpstreamBadResponse(f"the upstream's answer is not HTTP: {error}"))
                return
        if first and self.complete and self._keep_alive and not (self._dirty or self.encoded):
            self._known.learn(data, self._headers)
        self._parsed(data)

    def _parsed(self, data: bytes) -> None:
        """What came was parsed: it goes on to whoever waits for it."""
        if not self.has_head and self.received > HEAD_LIMIT:
            self._fail(UpstreamBadResponse("the upstream's response head is too large"))
            return
        if self._draining:
            self._pieces = []
            if self.complete:
                self._draining = False
                self._to_pool()
            return
        if self._taker is not None:
            self._between = bool(self._pieces) and stands_between(data, self._pieces[-1])
            if self._taken():
                return
        if self._held > HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        elif (
            self._held <= self._most and self.status == 200 and not (self.complete or self.encoded)
        ):
            return
        self._wake()

    def _taken(self) -> bool:
        """Whether all that has come is gone already, and the reader may sleep on. A busy relay
        finds several pieces at once.
        """
        taker, pieces = self._taker, self._pieces
        if taker is None or self._waiter is None:
            return False
        gone = 0
        for piece in pieces:
            if not taker(piece):
                break
            gone += 1
        if not gone:
            return False
        del pieces[:gone]
        self._held = sum(map(len, pieces))
        return not pieces and not self.complete

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._unwatch()
        if not self.complete and self._error is None:
            if self._until_eof and exc is None:
                self.complete = True
            else:
                self._error = UpstreamDisconnected("the upstream server broke off the connection")
        self._can_write.set()
        self._wake()
        self._released(self)
        del self._parser  # the two hold each other, and would stay until garbage is collected

    def pause_writing(self) -> None:
        self._can_write.clear()

    def resume_writing(self) -> None:
        self._can_write.set()
