"""An upstream's answer as it comes, from the parser's calls or by a head that is known."""

from __future__ import annotations

import asyncio

import httptools

from .errors import RelayError
from .http_clocks import Clocks
from .http_known import KnownHead


class Incoming(Clocks):
    """What has come of an answer; `known` is the head that its origin's answers begin with."""

    __slots__ = (
        "_body", "_can_write", "_dirty", "_error", "_headers", "_held", "_keep_alive", "_known",
        "_parser", "_pieces", "_until_eof", "complete", "encoded", "has_head", "received",
        "status",
    )  # fmt: skip

    def __init__(self, known: KnownHead) -> None:
        self._known = known
        self._parser = httptools.HttpResponseParser(self)
        self._can_write = asyncio.Event()
        self._can_write.set()
        self.complete = True
        # Made anew for each exchange, or back to this where it has ended well.
        self.status = 0
        self.received = 0  # bytes, head included
        self.has_head = False
        self._body = False
        self._until_eof = False
        self._dirty = False
        self._error: RelayError | None = None
        # Made anew when the first bytes come.
        self.encoded = False
        """It has a Content-Encoding."""
        self._headers: dict[bytes, bytes] = {}
        self._keep_alive = False
        self._pieces: list[bytes] = []
        self._held = 0

    def header(self, name: bytes) -> str:
        """One header by its lower-case name, "" if it is not there; cheaper than the mapping."""
        value = self._headers.get(name)
        return value.decode("latin-1") if value else ""

    @property
    def headers(self) -> dict[str, str]:
        """Lower-case names; repeated ones joined with a comma."""
        return {k.decode("latin-1"): v.decode("latin-1") for k, v in self._headers.items()}

    def _came_whole(self, body: bytes) -> None:
        """All of an answer whose head is known: what the parser's calls come to."""
        self._headers, self.encoded = self._known.headers, False
        self._pieces, self._held = [body], len(body)
        self.status = 200
        self.has_head = self.complete = self._keep_alive = True
        self._can_write.set()
        self._wake()

    # httptools

    def on_message_begin(self) -> None:
        if self.complete:
            self._dirty = True  # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._dirty:
            return
        key = name.lower()
        old = self._headers.get(key)
        self._headers[key] = value if old is None else b"%b, %b" % (old, value)

    def on_headers_complete(self) -> None:
        if self._dirty:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._headers = {}
            return
        self.status = status
        self._keep_alive = self._parser.should_keep_alive()
        framed = b"content-length" in self._headers or b"transfer-encoding" in self._headers
        self._until_eof = not framed
        self.encoded = b"content-encoding" in self._headers
        self.has_head = True
        if status >= 300:
            self._can_write.set()

    def on_body(self, body: bytes) -> None:
        if self._dirty:
            return
        if not self._body:
            self._body = True
            if self._last + self._idle < self._first_deadline:
                self._watch(min(self._last + self._idle, self._total_deadline))
        self._pieces.append(body)
        self._held += len(body)

    def on_message_complete(self) -> None:
        if self.has_head and not self._dirty:
            self.complete = True
            self._can_write.set()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
