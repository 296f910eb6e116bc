"""`Store`: a database in a thread of its own, and transactions that are done or not done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from sqlalchemy import Delete, Engine, Update
from sqlalchemy.orm import Session

from ..errors import StoreError
from .engine import READING, identity, open_engine, read_url, readable, shown, sqlite_file

T = TypeVar("T")

log = logging.getLogger(__name__)


class Store:
    """An open store: `async with Store(store_url(settings)) as store`.

    Entering creates the database, or brings it to the newest schema; several processes may do it
    at once. Leaving waits for what was begun. Everything raises StoreError.

    A SQLite file that was removed, or put in another's place, is opened anew: what is written to a
    file without a name would be confirmed, and lost.
    """

    def __init__(self, url: str) -> None:
        """`url` is SQLAlchemy's: `sqlite:////folder/relay.db`. Raises StoreError."""
        self._url = read_url(url)
        self._shown = shown(self._url)
        self._path = sqlite_file(self._url)
        self._file: tuple[int, int] | None = None
        self._engine: Engine | None = None
        self._reading: Engine | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def __aenter__(self) -> Self:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        try:
            await _end_of(self._thread.submit(self._open))
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close()

    async def run(self, work: Callable[[Session], T], *, write: bool = True) -> T:
        """What `work` returns. It runs in the store's thread, in one transaction, after what was
        asked for earlier; with `write` False it must only read, and waits for no writer.

        A caller that is cancelled does not stop it: it is done, or rolled back, as a whole.
        `work` should only touch what nobody changes meanwhile.
        """
        if self._thread is None:
            raise StoreError(f"the store ({self._shown}) is not open")
        return await _end_of(self._thread.submit(self._transaction, work, write))

    def _open(self) -> None:
        self._engine = open_engine(self._url)
        self._reading = self._engine.execution_options(**{READING: True})
        self._file = identity(self._path)

    def _open_if_need_be(self) -> None:
        if self._engine is not None and identity(self._path) == self._file:
            return
        if self._engine is not None:
            log.warning("the store (%s) is another file now: it is opened anew", self._shown)
            self._dispose()
        self._open()

    def _transaction(self, work: Callable[[Session], T], write: bool) -> T:
        self._open_if_need_be()
        with (
            readable(f"the store ({self._shown}) failed"),
            Session(self._engine if write else self._reading) as session,
            session.begin(),
        ):
            return work(session)

    async def _close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is None:
            return
        last = thread.submit(self._dispose)
        thread.shutdown(wait=False)  # it ends when its queue has
        await _end_of(last)

    def _dispose(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
        self._engine = self._reading = None


def changed(session: Session, statement: Update | Delete) -> int:
    """Execute it; how many rows it changed."""
    return session.connection().execute(statement).rowcount


async def _end_of(job: Future[T]) -> T:
    """What `job` returns. It goes on when the caller is cancelled; its failure is logged then."""
    waiting = asyncio.wrap_future(job)
    try:
        await asyncio.wait([waiting])
    except asyncio.CancelledError:
        waiting.add_done_callback(_log_failure)
        raise
    return waiting.result()


def _log_failure(job: asyncio.Future[T]) -> None:
    error = job.exception()
    if error is not None:
        log.warning("nobody waits any more for what failed: %s", error)
