"""Noticing that a client has gone, whatever its request is waiting for.

One task runs the whole answer, a second only listens; the first is cancelled when the client goes,
which closes the upstream.
"""

from __future__ import annotations

import asyncio

from .body import Receive


class Attendance:
    """`with Attendance(receive) as client:` around the work; `client.gone` tells afterwards.

    The CancelledError that a client's going causes does not leave the block.
    """

    __slots__ = ("_listener", "_receive", "_worker", "done", "gone")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.gone = False
        self.done = False

    def __enter__(self) -> Attendance:
        worker = asyncio.current_task()
        assert worker is not None
        self._worker = worker
        self._listener = asyncio.create_task(self._listen())
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self.done = True
        self._listener.cancel()
        if self.gone:
            self._worker.uncancel()
            return kind is asyncio.CancelledError
        return False

    async def _listen(self) -> None:
        message = await self._receive()
        while message["type"] != "http.disconnect":
            message = await self._receive()
        if not self.done:
            self.gone = True
            self._worker.cancel()
