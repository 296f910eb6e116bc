"""One request and its answer on a connection: ASGI's `receive` and `send`, and nothing to spare.

A generic server's version of this is a large part of what a plain request costs: it writes head and
body separately, checks every header with two patterns, and needs a second task to tell an
application that its client has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from .respond import Headers

if TYPE_CHECKING:
    from .protocol import RelayProtocol

GONE = {"type": "http.disconnect"}
BODILESS = frozenset({204, 304})
PHRASES = {status.value: status.phrase for status in HTTPStatus}
STATUS_LINES = {s: f"HTTP/1.1 {s} {PHRASES.get(s, '')}\r\n".encode() for s in range(200, 600)}
"""An upstream's status may be any, 499 as well."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
ON_GONE = "h2o_relay.on_gone"
"""An ASGI extension: `scope["extensions"][ON_GONE](callback)` has `callback()` called, once, when
the client goes before its answer is done; None takes the callback back."""


class Standing:
    """The headers that every answer has, encoded once as long as they are the same list."""

    _latest: Standing | None = None

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self._headers = headers
        self.encoded = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.count = len(headers)

    @classmethod
    def of(cls, headers: list[tuple[bytes, bytes]]) -> Standing:
        latest = cls._latest
        if latest is None or latest._headers is not headers:
            latest = cls._latest = cls(headers)
        return latest


class Exchange:
    """Made by the connection when a request's head is there."""

    __slots__ = (
        "_body",
        "_callback",
        "_chunked",
        "_delivered",
        "_expects",
        "_head",
        "_left",
        "_protocol",
        "_waiter",
        "answered",
        "complete",
        "gone",
        "held",
        "keep_alive",
        "scope",
        "started",
        "taken",
    )

    def __init__(
        self, protocol: RelayProtocol, scope: dict[str, Any], keep_alive: bool, expects: bool
    ) -> None:
        """`expects` says that the client waits for `100 Continue` before it sends the body."""
        self._protocol = protocol
        self._body: list[bytes] = []
        self._delivered = False
        self._expects = expects
        self._waiter: asyncio.Future[None] | None = None
        self._callback: Callable[[], None] | None = None
        self._head: dict[str, Any] | None = None
        self._chunked = False
        self._left = 0  # bytes of the body that are still to be sent
        self.scope = scope
        self.keep_alive = keep_alive
        self.complete = False
        """The whole request is here."""
        self.started = False
        """Something of the answer was written."""
        self.taken = False
        """The connection's worker has it."""
        self.answered = False
        self.gone = False
        self.held = 0
        """Bytes of the body that the application has not taken."""
        scope["extensions"] = {ON_GONE: self.on_gone}

    # The connection's side.

    def feed(self, data: bytes) -> None:
        self._body.append(data)
        self.held += len(data)
        self._wake()

    def end(self) -> None:
        self.complete = True
        self._wake()

    def vanish(self) -> None:
        """The client has gone."""
        if self.gone or self.answered:
            return
        self.gone = True
        self._wake()
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()

    def release(self) -> None:
        """Let go of what refers back to this, so that no garbage waits to be collected."""
        self.scope.pop("extensions", None)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The application's side.

    def on_gone(self, callback: Callable[[], None] | None) -> None:
        self._callback = callback
        if callback is not None and self.gone:
            callback()

    async def receive(self) -> dict[str, Any]:
        """The body, as much of it as is here; after it that the client has gone, or is answered."""
        while not self.gone and not self.answered:
            if self._body or (self.complete and not self._delivered):
                body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
                self._body, self.held = [], 0
                self._delivered = self.complete
                self._protocol.want_more()
                return {"type": "http.request", "body": body, "more_body": not self.complete}
            if self._expects and not self.started:
                self._expects = False
                self._protocol.write(CONTINUE)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return GONE

    async def send(self, message: dict[str, Any]) -> None:
        """Write the answer; the head goes out together with the first piece of the body."""
        if self._protocol.full and not self.gone:
            await self._protocol.drained()
        if self.gone:
            return
        if message["type"] == "http.response.start":
            if self.started or self._head is not None:
                raise RuntimeError("an answer has one head")
            self._head = message
            return
        if self.answered:
            raise RuntimeError("the answer is complete")
        body, more = message.get("body", b""), message.get("more_body", False)
        head = b"" if self.started else self._start(len(body), more)
        self._write(head, body, more)
        if not more:
            if self._left and self.scope["method"] != "HEAD":
                self._protocol.abort()
                raise RuntimeError("the answer is shorter than its content-length")
            self.answered = True
            self._callback = None
            self._wake()
            self._protocol.finished(self)

    def _start(self, size: int, more: bool) -> bytes:
        """The head: framed by the length if it is known, by chunks, or by the connection's end."""
        message = self._head
        if message is None:
            raise RuntimeError("an answer begins with its head")
        self.started, self._head = True, None
        status, headers = message["status"], message["headers"]
        standing = Standing.of(self._protocol.standing)
        lines = [STATUS_LINES[status], standing.encoded]
        length, extra = None, 0
        changing = headers
        if type(headers) is Headers:
            lines.append(headers.block)
            changing, extra = headers[headers.skip :], headers.skip - 1
        for name, value in changing:
            lines.append(b"%b: %b\r\n" % (name, value))
            if name == b"content-length":
                length = int(value)
            elif name == b"connection":
                self.keep_alive = False
        if length is None and not more and status not in BODILESS:
            length = size
            lines.append(b"content-length: %d\r\n" % size)
        if length is not None:
            self._left = length
        elif self.scope["http_version"] == "1.0":
            self.keep_alive = False
            self._left = -1
        elif status not in BODILESS:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
        if not self.keep_alive and (b"connection", b"close") not in headers:
            lines.append(b"connection: close\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) - 1 + standing.count + extra:
            raise RuntimeError("a header of the answer contains a line break")
        return head + b"\r\n"

    def _write(self, head: bytes, body: bytes, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            self._protocol.write(head)
        elif self._chunked:
            end = b"" if more else b"0\r\n\r\n"
            if body:
                self._protocol.write(b"%b%x\r\n%b\r\n%b" % (head, len(body), body, end))
            elif head or end:
                self._protocol.write(head + end)
        else:
            if self._left >= 0:
                self._left -= len(body)
                if self._left < 0:
                    self._protocol.abort()
                    raise RuntimeError("the answer is longer than its content-length")
            elif not more:
                self._left = 0
            self._protocol.write(head + body)
