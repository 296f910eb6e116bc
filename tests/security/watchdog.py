"""A watch on an event loop: which of its steps keep the processor for long.

Time of this thread's processor is counted and not of the clock, so that a machine that does other
things meanwhile shows nothing. Python's own loop only: uvloop's steps cannot be seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Iterator
from typing import Any

import pytest


class Steps:
    """The longest step so far, in seconds, and what it was."""

    longest = 0.0
    what = ""
    count = 0


@contextlib.contextmanager
def watched() -> Iterator[Steps]:
    """Watch every step of every loop of this thread inside the block, garbage left alone."""
    steps, run = Steps(), asyncio.events.Handle._run

    def timed(self: Any) -> None:
        shown = self._callback
        begin = time.thread_time()
        run(self)
        took = time.thread_time() - begin
        steps.count += 1
        if took > steps.longest:
            steps.longest = took
            owner = getattr(shown, "__self__", None)
            steps.what = repr(owner if isinstance(owner, asyncio.Task) else shown)[:300]

    gc.collect()
    gc.disable()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.events.Handle, "_run", timed)
        try:
            yield steps
        finally:
            gc.enable()
