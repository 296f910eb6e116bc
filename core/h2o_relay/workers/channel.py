"""`Channel`: what a coordinator and one worker say to each other, over a pair of sockets.

A frame is its length (4 bytes, big-endian) and a list of messages (`values.py`). What is said while
the loop turns once goes out as one frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import socket
from collections.abc import Callable
from typing import Any, Final, cast

from ..errors import Overloaded, RelayError
from .values import encoded, loaded, said

HEADER: Final = 4
GONE: Final = "The relay's processes have lost each other."
Handlers = dict[str, Callable[..., Any]]
"""By name, what is called with what was said; a coroutine function only to be asked. Who asks gets
the result, or the RelayError that was raised."""
log = logging.getLogger(__name__)


class ChannelClosed(Overloaded):
    """The other end is gone."""


class Channel(asyncio.Protocol):
    """One end. What is told and asked arrives in its order; answers come as they are ready."""

    def __init__(self, handlers: Handlers) -> None:
        self.handlers = handlers
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the other end is gone, or this one was closed."""
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._out: list[Any] = []
        self._serial = 0
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    @classmethod
    async def over(cls, sock: socket.socket, handlers: Handlers) -> Channel:
        """One that owns a connected stream socket."""
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(lambda: cls(handlers), sock=sock)
        return made

    def say(self, what: str, *args: Any) -> None:
        """Say it; never waits. Nothing happens if nobody is there any more."""
        self._send((0, what, args))

    def say_now(self, what: str, *args: Any) -> None:
        """The same, on its way before this returns: before whatever is answered next."""
        self.say(what, *args)
        self._flush()

    async def ask(
        self, what: str, *args: Any, unwanted: Callable[[Any], None] | None = None
    ) -> Any:
        """What the other end's handler returns. Raises what it raises, ChannelClosed.

        Cancelling this cancels the handler; a result that was on its way is given to `unwanted`.
        """
        if self.closed.done():
            raise ChannelClosed(GONE)
        self._serial = serial = self._serial + 1
        answer = self._asked[serial] = asyncio.get_running_loop().create_future()
        self._send((serial, what, args))
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            answer.add_done_callback(lambda late: _drop(late, unwanted))
            self._send((serial, None, ()))
            raise

    def close(self) -> None:
        """What was said before is still sent."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _send(self, message: tuple[int, Any, Any]) -> None:
        if self.closed.done():
            return
        ready = said(message)  # a mistake is whose who says it, and takes nothing else along
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(ready)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self._transport is not None and not self._transport.is_closing():
            data = encoded(["l", *out])
            self._transport.write(len(data).to_bytes(HEADER, "big") + data)

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        while len(received) >= HEADER:
            end = HEADER + int.from_bytes(received[:HEADER], "big")
            if len(received) < end:
                return
            messages = loaded(bytes(received[HEADER:end]))
            del received[:end]
            for message in messages:
                self._take(*message)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        asked, self._asked = self._asked, {}
        for answer in asked.values():
            if not answer.done():
                answer.set_exception(ChannelClosed(GONE))
                answer.exception()  # nobody may be waiting for it
        for task in list(self._tasks.values()):
            task.cancel()

    def _take(self, serial: int, what: Any, args: Any) -> None:
        if serial < 0:
            self._answered(-serial, what, args)
        elif what is None:
            task = self._tasks.get(serial)
            if task is not None:
                task.cancel()
        else:
            self._do(serial, what, args)

    def _answered(self, serial: int, good: bool, value: Any) -> None:
        answer = self._asked.pop(serial, None)
        if answer is None or answer.done():
            return
        if good:
            answer.set_result(value)
        else:
            answer.set_exception(value)

    def _do(self, serial: int, what: str, args: tuple[Any, ...]) -> None:
        try:
            result = self.handlers[what](*args)
        except Exception as error:
            self._failed(serial, what, error)
            return
        if inspect.isawaitable(result):
            task = asyncio.ensure_future(self._later(serial, what, result))
            self._tasks[serial] = task
            task.add_done_callback(lambda _: self._tasks.pop(serial, None))
        elif serial:
            self._send((-serial, True, result))

    async def _later(self, serial: int, what: str, work: Any) -> None:
        try:
            result = await work
        except Exception as error:
            self._failed(serial, what, error)
        except asyncio.CancelledError:
            self._failed(serial, what, ChannelClosed("Nobody waits for it any more."))
            raise
        else:
            self._send((-serial, True, result))

    def _failed(self, serial: int, what: str, error: Exception) -> None:
        if not isinstance(error, RelayError):
            log.error("%s, asked by another process, failed", what, exc_info=error)
            error = RelayError("The relay failed. Its log has the reason.")
        if serial:
            self._send((-serial, False, error))


def _drop(late: asyncio.Future[Any], unwanted: Callable[[Any], None] | None) -> None:
    """A result that nobody waits for any more."""
    with contextlib.suppress(RelayError):
        result = late.result()
        if unwanted is not None:
            unwanted(result)
