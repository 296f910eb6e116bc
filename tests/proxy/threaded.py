"""A relay on a loop of its own in another thread, for clients that are not async."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager

from .kit import Relay


@contextlib.contextmanager
def in_thread(opening: AbstractAsyncContextManager[Relay]) -> Iterator[Relay]:
    """The relay while it runs elsewhere. Raises what opening or closing it raises."""
    ready, fault = threading.Event(), list[BaseException]()
    opened: list[tuple[Relay, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        async with opening as relay:
            done = asyncio.Event()
            opened.append((relay, asyncio.get_running_loop(), done))
            ready.set()
            await done.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            fault.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="relay")
    thread.start()
    ready.wait()
    try:
        if opened:
            yield opened[0][0]
    finally:
        if opened:
            _, loop, done = opened[0]
            loop.call_soon_threadsafe(done.set)
        thread.join()
    if fault:
        raise fault[0]
