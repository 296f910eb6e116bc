"""What became of processes that a test did not start itself."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable


def alive(pid: int) -> bool:
    """A process that nobody has waited for yet still has an entry, with state Z."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return shown.stdout.strip()[:1] not in ("", "Z")


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    """Raises TimeoutError after so many seconds. Less often than the kit's: a look is a process."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - a process, not an event
            await asyncio.sleep(0.02)
