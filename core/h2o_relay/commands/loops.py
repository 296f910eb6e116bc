"""Running a command's coroutine so that signals end it tidily."""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from .failures import Stopped

T = TypeVar("T")
ENDING = ("SIGTERM", "SIGHUP")


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, where SIGTERM and SIGHUP cancel too, so that children and sockets are closed.

    Raises Stopped for them, KeyboardInterrupt for Ctrl-C.
    """
    import asyncio

    return asyncio.run(_guarded(main))


async def _guarded(main: Coroutine[Any, Any, T]) -> T:
    import asyncio

    task = asyncio.current_task()
    assert task is not None
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        task.cancel()

    numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    with on_signals(numbers, stop):
        try:
            return await main
        except asyncio.CancelledError:
            if received:
                raise Stopped(received[0]) from None
            raise


@contextmanager
def on_signals(numbers: Sequence[int], react: Callable[[int], object]) -> Iterator[None]:
    """Call `react` in the running loop for these signals; restores what handled them before."""
    import asyncio

    loop = asyncio.get_running_loop()

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(react, number)

    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
