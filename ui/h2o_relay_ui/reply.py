"""One answer as it comes in: received by a task of its own, shown at a pace that a page can take.

A model may send a hundred pieces a second, and a browser draws the whole message anew for each one
that it is shown. So the task gathers, and the page looks `PACE` seconds apart.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from h2o_relay.errors import RelayError
from h2o_relay.kernel import KernelAPI
from h2o_relay.notes import in_words

PACE = 0.05  # seconds


class Reply:
    """What has come so far. Made by `receiving`."""

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
        self._news = asyncio.Event()
        self._end = asyncio.Event()

    async def updates(
        self, pace: float = PACE, alive: float | None = None
    ) -> AsyncGenerator[None, None]:
        """Whenever there is more to show, the end included; at least every `alive` seconds."""
        ended = False
        while not ended:
            await _within(alive, self._news)
            self._news.clear()
            ended = self.ended
            yield
            await _within(pace, self._end)

    async def receive(self, kernel: KernelAPI, params: Mapping[str, Any]) -> None:
        try:
            async with kernel.stream("chat", params) as answer:
                self.notes = in_words(answer.notes, answer.dropped)
                async for chunk in answer:
                    self.text += chunk.text
                    self.reasoning += chunk.reasoning
                    self.finish_reason = chunk.finish_reason or self.finish_reason
                    self.usage = chunk.usage or self.usage
                    self._news.set()
        except RelayError as error:
            self.error = error

    def end(self) -> None:
        self.ended = True
        self._news.set()
        self._end.set()


async def _within(seconds: float | None, event: asyncio.Event) -> None:
    """Wait for the event, at most so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


@contextlib.asynccontextmanager
async def receiving(
    kernel: KernelAPI, params: Mapping[str, Any], tasks: set[asyncio.Task[None]]
) -> AsyncIterator[Reply]:
    """A reply that is being received; leaving the block stops that and closes the upstream.

    Its task is in `tasks` for that long: cancelling it there ends the reply too.
    """
    reply = Reply()
    task = asyncio.create_task(reply.receive(kernel, params), name="chat page answer")
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
