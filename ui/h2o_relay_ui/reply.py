"""One answer as it comes in: received by a task of its own, shown at a pace that a page can take.

A model may send a hundred pieces a second, and a browser draws the whole message anew for each one
that it is shown. So the task gathers, and whoever looks does so `PACE` seconds apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from h2o_relay.behalf import behalf
from h2o_relay.errors import RelayError
from h2o_relay.kernel import KernelAPI
from h2o_relay.notes import in_words

PACE = 0.05  # seconds


class Reply:
    """What has come so far, for any number of readers."""

    def __init__(self) -> None:
        self.text = ""
        self.reasoning = ""
        self.finish_reason: str | None = None
        self.usage: Mapping[str, Any] | None = None
        """Tokens, where the server counts them and the request asked for that."""
        self.notes: list[str] = []
        """What was done to the request, in words."""
        self.error: RelayError | None = None
        self.ended = False
        self.pieces = 0
        """Chunks with text or reasoning: about as many as tokens."""
        self.version = 0
        """Rises with every change."""
        self.began = time.monotonic()
        self.first: float | None = None
        """When the first piece came, by the same clock."""
        self.last: float | None = None
        """When the answer ended, likewise."""
        self._news = asyncio.Event()
        self._end = asyncio.Event()

    async def updates(
        self, pace: float = PACE, alive: float | None = None
    ) -> AsyncGenerator[None, None]:
        """Whenever there is more to show, the end included; at least every `alive` seconds."""
        seen, ended = 0, False
        while not ended:
            await self.newer(seen, alive)
            seen, ended = self.version, self.ended
            yield
            await self.end_within(pace)

    async def newer(self, version: int, within: float | None = None) -> None:
        """Wait until there is more than there was at `version`, at most so many seconds."""
        if self.version == version:
            await _within(within, self._news)

    async def end_within(self, seconds: float) -> None:
        """Wait for the end, at most so many seconds."""
        await _within(seconds, self._end)

    async def receive(self, kernel: KernelAPI, params: Mapping[str, Any], **whom: str) -> None:
        """Ask for it, for whom `behalf` is told."""
        self.began = time.monotonic()
        try:
            with behalf(**whom):
                await self._receive(kernel, params)
        except RelayError as error:
            self.error = error

    async def _receive(self, kernel: KernelAPI, params: Mapping[str, Any]) -> None:
        async with kernel.stream("chat", params) as answer:
            self.notes = in_words(answer.notes, answer.dropped)
            async for chunk in answer:
                text, reasoning = chunk.text, chunk.reasoning
                if text or reasoning:
                    self.first = self.first or time.monotonic()
                    self.pieces += 1
                self.text += text
                self.reasoning += reasoning
                self.finish_reason = chunk.finish_reason or self.finish_reason
                self.usage = chunk.usage or self.usage
                self._changed()

    def note(self, phrase: str) -> None:
        if phrase not in self.notes:
            self.notes.append(phrase)
            self._changed()

    def end(self) -> None:
        self.ended = True
        self.last = time.monotonic()
        self._end.set()
        self._changed()

    @property
    def seconds(self) -> float:
        """From asking to the end, or until now."""
        return (self.last or time.monotonic()) - self.began

    def _changed(self) -> None:
        self.version += 1
        news, self._news = self._news, asyncio.Event()
        news.set()


async def _within(seconds: float | None, event: asyncio.Event) -> None:
    """Wait for the event, at most so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


@contextlib.asynccontextmanager
async def receiving(
    kernel: KernelAPI, params: Mapping[str, Any], tasks: set[asyncio.Task[None]], **whom: str
) -> AsyncIterator[Reply]:
    """A reply that is being received; leaving the block stops that and closes the upstream.

    Its task is in `tasks` for that long: cancelling it there ends the reply too.
    """
    reply = Reply()
    receiving = reply.receive(kernel, params, **whom)
    task = asyncio.create_task(receiving, name="chat page answer")
    task.add_done_callback(lambda _: reply.end())
    tasks.add(task)
    try:
        yield reply
    finally:
        task.cancel()
        await asyncio.wait({task})
        tasks.discard(task)
    if not task.cancelled():
        task.result()  # what is not a RelayError is a fault of ours, and is not hidden
