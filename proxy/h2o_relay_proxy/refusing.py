"""What a connection itself refuses: an answer in OpenAI's shape, and a word to the application."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from h2o_relay.errors import RelayError
from h2o_relay.outbox import Outbox

from .closing import Transport
from .deadline import Deadline
from .exchange import Exchange
from .framing import Refused, refused, whole_refusal
from .respond import Header


class Refusing:
    """The refusing part of a connection's protocol."""

    abort: Callable[[], None]
    running: Exchange | None
    transport: Transport
    write: Callable[[bytes], None]
    _app: Any
    _begun: bool
    _deadline: Deadline
    _headers: list[Header]
    _outbox: Outbox
    _parser: Any
    _queue: deque[Exchange]
    _url = b""
    _refused = False
    _late: tuple[RelayError, Refused] | None = None
    """A refusal that waits for its turn."""

    def _refuse(self, error: RelayError) -> None:
        """Answer in OpenAI's shape, after the requests that came before, and close."""
        if self._refused:
            return
        self._refused = True
        self._deadline.stop()
        running = self.running
        if running is None:
            self._last_words(error, self._at_fault())
        elif running.complete:
            self._late = error, self._at_fault()
        elif running.started:
            self.abort()
        else:
            running.refuse(error)  # the application waits for a body that does not come
            request = Refused(running.id, running.method, running.path)
            self._last_words(error, request, told=running.taken)

    def _at_fault(self) -> Refused:
        """The request that is refused: half of it may be here."""
        if self._queue and not self._queue[-1].complete:
            last = self._queue.pop()
            return Refused(last.id, last.method, last.path)
        if not self._begun:
            return refused(b"", b"", ())
        return refused(self._parser.get_method() if self._url else b"", self._url, self._headers)

    def _last_words(self, error: RelayError, request: Refused, told: bool = False) -> None:
        """`told`: the application has the request, and accounts for it itself."""
        self._outbox.flush()
        self.write(whole_refusal(error, request.id))
        self.transport.close()
        if not told:
            self._app.refused(request, error)
