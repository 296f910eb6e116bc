"""Noticing that a client has gone, whatever its request is waiting for.

Our own connections call back. Under any other ASGI server a second task listens: one runs the
whole answer, the other only waits for the client's going. Either way the answer's task is
cancelled, which closes the upstream.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .body import Receive
from .exchange import ON_GONE


class Attendance:
    """`with Attendance(scope, receive) as client:` around the work; `client.gone` tells afterwards.

    The CancelledError that a client's going causes does not leave the block.
    """

    __slots__ = ("_call", "_listener", "_receive", "_worker", "done", "gone")

    def __init__(self, scope: dict[str, Any], receive: Receive) -> None:
        self._call = scope.get("extensions", {}).get(ON_GONE)
        self._receive = receive
        self._listener: asyncio.Task[None] | None = None
        self.gone = False
        self.done = False

    def __enter__(self) -> Attendance:
        worker = asyncio.current_task()
        assert worker is not None
        self._worker = worker
        if self._call is not None:
            self._call(self._left)
        else:
            self._listener = asyncio.create_task(self._listen())
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self.done = True
        if self._call is not None:
            self._call(None)
            self._call = None
        if self._listener is not None:
            self._listener.cancel()
        if self.gone:
            self._worker.uncancel()
            return kind is asyncio.CancelledError
        return False

    def _left(self) -> None:
        if not self.done and not self.gone:
            self.gone = True
            self._worker.cancel()

    async def _listen(self) -> None:
        message = await self._receive()
        while message["type"] != "http.disconnect":
            message = await self._receive()
        self._left()
