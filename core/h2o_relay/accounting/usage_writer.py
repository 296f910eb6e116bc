"""`UsageWriter`: every request that is over goes into the store, beside what answers requests.

Requests wait in memory for a second at most and are stored in batches. Where the store does not
take them they go to a file (`usage_spill.py`), and from there to the store once it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, Self

from ..errors import RelayError
from .record import Record
from .usage_spill import Row, Spill

CAPACITY: Final = 20_000  # requests in memory
BATCH: Final = 500  # requests of a transaction
EVERY: Final = 1.0  # seconds that a request waits at most
SLOW: Final = 2.0  # seconds until a store that does not answer is taken for gone
LONGEST: Final = 15.0  # seconds between tries
TELL: Final = 60.0  # seconds between lines of the log about the same trouble
CLOSING: Final = 5.0  # seconds that a stop waits for the store
ADOPT: Final = 60.0  # seconds between looks for files of processes that are gone

log = logging.getLogger(__name__)


class Keeper(Protocol):
    """What takes usage: `store.UsageStore`."""

    async def add(self, rows: Sequence[Row], *, again: bool = False) -> None: ...


class UsageWriter:
    """`async with UsageWriter(keeper, folder) as writer`; `note` is for the loop that entered it.

    Leaving stores what waits, or leaves it in the file for the next start.
    """

    def __init__(
        self, keeper: Keeper, folder: Path | None, capacity: int = CAPACITY, *,
        every: float = EVERY, slow: float = SLOW,
    ) -> None:  # fmt: skip
        """`folder` is where the file is made when it is needed; without one there is only the
        memory.
        """
        self._keeper = keeper
        self._capacity = capacity
        self._every = every
        self._slow = slow
        self._run = secrets.token_hex(8)
        self._spill = None if folder is None else Spill(folder, self._run)
        self._queue: deque[Row] = deque()
        self._count = 0
        self._flight: tuple[asyncio.Task[None], list[Row]] | None = None
        self._wake = asyncio.Event()
        self._flushes: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None
        self._end: float | None = None
        self._reason = ""
        self._since = 0.0
        self._failures = 0
        self._again = 0.0
        self._adopted = float("-inf")
        self._told = float("-inf")
        self._told_lost = 0
        self.stored = 0
        """Requests that are in the store, those of earlier runs too."""
        self.dropped = 0
        """Requests that are lost: neither the store nor memory and file had room for them."""

    def note(self, record: Record) -> None:
        """Take a request that is over; microseconds. It never raises and never waits."""
        queue = self._queue
        if len(queue) >= self._capacity:
            self.dropped += 1
            return
        self._count += 1
        queue.append((f"{self._run}-{self._count}", record))
        if len(queue) >= BATCH:
            self._wake.set()

    @property
    def waiting(self) -> int:
        """Requests that are not in the store yet."""
        flight = len(self._flight[1]) if self._flight else 0
        return len(self._queue) + flight + (self._spill.waiting if self._spill else 0)

    @property
    def trouble(self) -> str:
        """What is wrong, in one line; "" while all is well."""
        parts = []
        if self._reason:
            seconds = time.time() - self._since
            parts.append(f"usage is not stored since {seconds:.0f} s: {self._reason}; "
                         f"{self.waiting} requests wait")  # fmt: skip
        if self.dropped:
            parts.append(f"the usage of {self.dropped} requests is lost")
        return "; ".join(parts)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._work(), name="usage")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def flush(self) -> None:
        """Store what was noted until now, unless the store does not take it."""
        if self._task is None:
            return
        done = asyncio.get_running_loop().create_future()
        self._flushes.append(done)
        self._again = 0.0
        self._wake.set()
        await done

    async def aclose(self) -> None:
        """Store what waits, for some seconds; the rest goes to the file."""
        task, self._task = self._task, None
        if task is None:
            return
        self._end = time.monotonic() + CLOSING
        self._again = 0.0
        self._wake.set()
        await task
        spill = self._spill
        if spill:
            log.warning("the usage of %d requests is kept in %s until the next start",
                        spill.waiting, spill.folder)  # fmt: skip
            await asyncio.to_thread(spill.close)
        if self.dropped:
            log.warning("the usage of %d requests is lost", self.dropped)

    # Beside the answers: one task, which nobody cancels, so that nothing is lost between two steps.

    async def _work(self) -> None:
        while self._end is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._wake.wait()
            self._wake.clear()
            await self._once()
            self._tell()
        await self._once()
        await self._leave()

    async def _once(self) -> None:
        """A turn, and whoever waits for it told."""
        told, self._flushes = self._flushes, []
        try:
            await self._move()
        except Exception:  # a mistake of ours must not end it
            log.exception("usage could not be stored")
        for done in told:
            if not done.done():
                done.set_result(None)

    async def _move(self) -> None:
        """Bring what waits into the store; where that fails, into the file."""
        if time.monotonic() < self._again or not await self._landed():
            await self._put_aside()
            return
        await self._adopt()
        while self._queue and not self._is_late:
            if not await self._stored(self._batch(), again=self._failures > 0):
                await self._put_aside()
                return
        await self._bring_back()

    @property
    def _is_late(self) -> bool:
        """It is to end, and has waited for the store long enough."""
        return self._end is not None and time.monotonic() > self._end

    def _batch(self) -> list[Row]:
        return [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]

    async def _stored(self, batch: list[Row], *, again: bool) -> bool:
        """Whether the store has taken them."""
        task = asyncio.create_task(self._keeper.add(tuple(batch), again=again), name="usage batch")
        self._flight = (task, batch)
        return await self._landed()

    async def _landed(self) -> bool:
        """Whether nothing is on its way any more, and what was has arrived."""
        if self._flight is None:
            return True
        task, batch = self._flight
        await asyncio.wait([task], timeout=self._slow)
        if not task.done():
            self._failed("it does not answer")
            if batch and await self._spilled(batch):
                batch.clear()  # it may be stored all the same: the ids of its rows tell
            return False
        self._flight = None
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            reason = getattr(error, "message", "") or repr(error)
            if not isinstance(error, RelayError) and reason != self._reason:
                log.error("usage could not be stored", exc_info=error)
            self._queue.extendleft(reversed(batch))
            self._failed(reason)
            return False
        self.stored += len(batch)
        self._healed()
        return True

    async def _adopt(self) -> None:
        """Look for what processes that are gone have left."""
        if self._spill is None or time.monotonic() - self._adopted < ADOPT:
            return
        self._adopted = time.monotonic()
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._spill.adopt)

    async def _bring_back(self) -> None:
        """What is in the files, as long as the store takes it and nothing else is to be done."""
        spill, count = self._spill, 0
        while spill and len(self._queue) < BATCH and self._end is None:
            try:
                rows = await asyncio.to_thread(spill.read, BATCH)
                if rows and not await self._taken_back(rows):
                    return
                await asyncio.to_thread(spill.done)
            except OSError as error:
                self._failed(f"{spill.shown}: {error.strerror}")
                return
            count += len(rows)
        if count and not spill:
            log.info("the usage of %d requests, kept in a file, is in the store now", count)

    async def _taken_back(self, rows: list[Row]) -> bool:
        task = asyncio.create_task(self._keeper.add(rows, again=True), name="usage batch")
        self._flight = (task, [])  # they stay in the file until they are stored
        if not await self._landed():
            return False
        self.stored += len(rows)
        return True

    async def _put_aside(self) -> None:
        """From memory to the file."""
        while self._queue:
            batch = self._batch()
            if not await self._spilled(batch):
                self._queue.extendleft(reversed(batch))
                return

    async def _leave(self) -> None:
        """What is still here goes to the file, or is lost and counted."""
        if self._flight is not None:
            task, batch = self._flight
            self._queue.extendleft(reversed(batch))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._flight = None
        await self._put_aside()
        self.dropped += len(self._queue)
        self._queue.clear()

    async def _spilled(self, batch: list[Row]) -> bool:
        """Whether they are kept elsewhere than in memory now. What a full file does not take is
        lost, and counted.
        """
        if self._spill is None:
            return False
        try:
            count = await asyncio.to_thread(self._spill.append, batch)
        except OSError:
            return False  # the disk is full: the memory is all there is
        except Exception:  # a mistake of ours, which must not cost the batch
            log.exception("usage could not be put into a file")
            return False
        self.dropped += len(batch) - count
        return True

    # Telling.

    def _failed(self, reason: str) -> None:
        self._failures += 1
        self._again = time.monotonic() + min(LONGEST, self._every * 2 ** min(self._failures - 1, 5))
        if not self._reason:
            self._since = time.time()
        self._reason = reason

    def _healed(self) -> None:
        if self._reason:
            log.info("usage is stored again, after %.0f s", time.time() - self._since)
            self._told = float("-inf")
        self._reason, self._failures, self._again = "", 0, 0.0

    def _tell(self) -> None:
        """Once a minute, while something is wrong or more is lost."""
        news = self._reason or self.dropped > self._told_lost
        if news and time.monotonic() - self._told >= TELL:
            self._told, self._told_lost = time.monotonic(), self.dropped
            log.warning("%s", self.trouble)
