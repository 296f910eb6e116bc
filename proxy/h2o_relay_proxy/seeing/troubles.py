"""`Troubles`: what is wrong with a relay itself, beside its servers, for its operator.

troubles = Troubles(limits=lambda: limits.trouble)    # a line, or nothing where all is well
async with troubles.watching(): ...                   # else it begins when somebody looks
troubles.now()
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Final

LOOK: Final = 1.0  # seconds between looks
ADVICE: Final[Mapping[str, str]] = {
    "keys": "bring the store back (--store, --save_dir), which is read again every two seconds; "
    "until then its keys stay as they were, and callers get 503 if they were never read",
    "limits": "bring the Redis of --limits-url back; it is looked at by itself",
    "usage": "bring the store back, or make room for it; what waits is stored then",
}
"""What to do, by the part that is in trouble."""
Part = Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Trouble:
    part: str
    problem: str
    """In one line, for a person."""
    since: float
    """Unix time at which it was first seen."""
    advice: str


class Troubles:
    def __init__(self, clock: Callable[[], float] = time.time, **parts: Part) -> None:
        """Each part says why it is not well; None or "" where it is."""
        self._clock = clock
        self._parts = parts
        self._since: dict[str, float] = {}

    def now(self) -> list[Trouble]:
        found: list[Trouble] = []
        for part, ask in self._parts.items():
            problem = ask()
            if not problem:
                self._since.pop(part, None)
                continue
            since = self._since.setdefault(part, self._clock())
            found.append(Trouble(part, problem, since, ADVICE.get(part, "")))
        return found

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Notice when each begins and ends, for the length of the block."""
        task = asyncio.create_task(self._watch(), name="troubles")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            self.now()
            await asyncio.sleep(LOOK)
