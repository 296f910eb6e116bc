"""Noticing that a file has changed, by looking at it: works on every system and file system, also
where an editor or a mounted volume puts another file in its place.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

EVERY = 1.0  # seconds between looks
SETTLED = 0.3  # seconds without a change: whoever writes is done
Mark = tuple[int, int, int, int]


async def watch(
    path: str,
    changed: Callable[[], Awaitable[None]],
    *,
    every: float = EVERY,
    settled: float = SETTLED,
    known: Mark | None = None,
) -> None:
    """Await `changed` whenever the file has changed, until cancelled; `every` and `settled` are
    seconds, `known` is the state that was read, without it the one that is there now. A file that
    is gone is waited for: that alone is no change. What `changed` raises ends it.
    """
    known = known or _stat(path)  # at once: what comes after this is a change
    while True:
        await asyncio.sleep(every)
        found = await _mark(path)
        if found is None or found == known:
            continue
        found = await _at_rest(path, found, settled)
        if found is not None and found != known:
            known = found
            await changed()


async def _at_rest(path: str, found: Mark, settled: float) -> Mark | None:
    """The file's mark once it stays the same; None if it has gone meanwhile."""
    while True:
        await asyncio.sleep(settled)
        later = await _mark(path)
        if later is None or later == found:
            return later
        found = later


async def _mark(path: str) -> Mark | None:
    """What tells one state of a file from another; None where there is none. In a thread, since a
    file system that hangs must not hold up answers.
    """
    return await asyncio.to_thread(_stat, path)


def _stat(path: str) -> Mark | None:
    try:
        return mark_of(os.stat(os.path.expanduser(path)))
    except OSError:
        return None


def mark_of(found: os.stat_result) -> Mark:
    """What tells one state of a file from another."""
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
