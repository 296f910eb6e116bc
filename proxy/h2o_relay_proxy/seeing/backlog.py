"""`Backlog`: work that is put down on the event loop and done in a thread."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")
MOST: Final = 20_000
PAUSE: Final = 0.05  # seconds for which the thread gathers what comes, so as not to wake each time
BATCH: Final = 1000
log = logging.getLogger(__name__)


class Backlog(Generic[T]):
    """`work` is called with lists of what was put, in order, in one thread that begins with the
    first. Where it falls behind by more than `most`, what comes is lost and counted.
    """

    def __init__(self, name: str, work: Callable[[list[T]], None], most: int = MOST) -> None:
        self.lost = 0
        """Items that were not worked on."""
        self._name, self._work, self._most = name, work, most
        self._items: deque[T] = deque()
        self._call = threading.Event()
        self._called = False
        self._end = threading.Event()
        self._ended = False
        self._thread: threading.Thread | None = None

    def put(self, item: T) -> None:
        """Takes a microsecond or two; for one thread."""
        items = self._items
        if len(items) >= self._most or self._ended:
            self.lost += 1
            return
        items.append(item)
        if not self._called:
            self._called = True
            self._call.set()
            if self._thread is None:
                self._begin()

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.is_set() or self._items:
            self._call.wait()
            self._call.clear()
            self._end.wait(PAUSE)
            self._called = False  # before the items are taken: none is put and not called for
            while self._items:
                self._do([self._items.popleft() for _ in range(min(BATCH, len(self._items)))])

    def _do(self, batch: list[T]) -> None:
        try:
            self._work(batch)
        except Exception:
            self.lost += len(batch)
            log.exception("%s: %d records are lost", self._name, len(batch))

    def wait(self, seconds: float) -> bool:
        """For `work`: wait before another try; true at once if there is no time for one."""
        return self._end.wait(seconds)

    def close(self, seconds: float) -> None:
        """Take no more, and wait so long at most until all is done. Blocks."""
        self._ended = True
        self._end.set()
        self._call.set()
        if self._thread is None:
            return
        self._thread.join(seconds)
        if self._thread.is_alive():
            log.warning("%s: the last %d records or so are lost", self._name, len(self._items))
