"""The task that answers a connection's requests, one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from h2o_relay.outbox import Outbox

from .closing import Transport
from .exchange import Exchange
from .respond import encoded

log = logging.getLogger(__name__)


class Answering:
    """The answering part of a connection's protocol."""

    abort: Callable[[], None]
    drained: Callable[[], Awaitable[None]]
    full: bool
    running: Exchange | None
    transport: Transport
    _app: Any
    _coming: Exchange | None
    _idle: asyncio.Future[None] | None = None
    """The worker waits for a request."""
    _loop: asyncio.AbstractEventLoop
    _outbox: Outbox
    _server: Any
    _standing: ClassVar[tuple[Any, bytes]] = (None, b"")
    _worker: asyncio.Task[None] | None = None

    def _start(self, exchange: Exchange) -> None:
        """One task answers all requests of a connection: a new one each time would cost more."""
        self.running = exchange
        if self._worker is None:
            self._worker = self._loop.create_task(self._work())
            self._server.tasks.add(self._worker)
            self._worker.add_done_callback(self._server.tasks.discard)
        else:
            self._wake()

    async def _work(self) -> None:
        while True:
            exchange = self.running
            if exchange is None or exchange.taken:
                if self.transport.is_closing():
                    return
                self._idle = self._loop.create_future()
                await self._idle
                continue
            if exchange.gone:
                return
            exchange.taken = True
            self._outbox.running += 1
            try:
                if self.full:
                    await self.drained()  # the client has not read the answers before this one
                await self._app(exchange)
            except Exception:
                log.exception("the application failed")
            finally:
                if not exchange.background:
                    self.uncount()
            if exchange.gone:
                self.running = self._coming = None
            elif not exchange.answered:
                self.abort()  # whatever was sent of the answer, it is not whole

    def uncount(self) -> None:
        """A request has ended, or is none that anybody waits for."""
        self._outbox.running -= 1

    def cancel_worker(self) -> bool:
        """Cancel what runs for a request; whether there is something to cancel."""
        return self._worker is not None and self._worker.cancel()

    def uncancel_worker(self) -> None:
        if self._worker is not None:
            self._worker.uncancel()

    def _wake(self) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    @property
    def standing(self) -> bytes:
        """The headers of every answer: the date, which uvicorn renews each second."""
        headers = self._server.default_headers
        if headers is not self._standing[0]:
            type(self)._standing = (headers, encoded(headers))
        return self._standing[1]
