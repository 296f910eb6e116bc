"""What all open pages watch together: one subscription for the process, while somebody looks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Generic, TypeVar

from h2o_relay.admin import AdminAPI, DeploymentView
from h2o_relay.errors import RelayError

from .context import Context

FIRST = 2.0  # seconds that the first page waits for the first news
LINGER = 60.0  # seconds without a look after which the subscription ends
AGAIN = 2.0  # seconds between attempts while the relay cannot be asked
KEY = "live"
FAULT = "The page failed. Its log says why."
T = TypeVar("T")
log = logging.getLogger(__name__)


class Live:
    """The deployments as they are. `problem` says why they may be out of date, "" if they are not.

    A task of this process holds `changes()` open; pages read what it brought and ask nobody.
    """

    def __init__(self, relay: AdminAPI, linger: float = LINGER, again: float = AGAIN) -> None:
        self.problem = ""
        self._relay = relay
        self._linger, self._again = linger, again
        self._views: Sequence[DeploymentView] = ()
        self._fresh = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._looked = 0.0

    async def views(self) -> Sequence[DeploymentView]:
        self._looked = time.monotonic()
        if self._task is None or self._task.done():
            self._fresh.clear()
            self._task = asyncio.create_task(self._watch(), name="deployments for the pages")
        if not self._fresh.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST):
                    await self._fresh.wait()
        return self._views or self._relay.deployments()

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _watch(self) -> None:
        """Follow the changes for as long as somebody looks."""
        following = asyncio.create_task(self._follow())
        try:
            while (left := self._looked + self._linger - time.monotonic()) > 0:
                await asyncio.wait({following}, timeout=left)
        finally:
            if self._task is asyncio.current_task():
                self._task = None  # who looks while this ends begins anew
            following.cancel()
            await asyncio.wait({following})

    async def _follow(self) -> None:
        while True:
            try:
                async with aclosing(self._relay.changes()) as changes:
                    async for views in changes:
                        self._views, self.problem = views, ""
                        self._fresh.set()
            except RelayError as error:
                self.problem = error.message
            except Exception:
                log.exception("the page cannot follow the deployments")
                self.problem = FAULT
            self._fresh.set()
            await asyncio.sleep(self._again)


class Shared(Generic[T]):
    """What `fetch` brings, for all who ask within `seconds` of it; one fetch at a time."""

    def __init__(self, fetch: Callable[[], Awaitable[T]], seconds: float) -> None:
        self._fetch = fetch
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._kept: tuple[float, T] | None = None

    async def get(self) -> T:
        """Raises what `fetch` raises; that is not kept."""
        async with self._turn:
            if self._kept is None or time.monotonic() - self._kept[0] >= self._seconds:
                self._kept = (time.monotonic(), await self._fetch())
            return self._kept[1]


def live(context: Context) -> Live:
    """The pages' one `Live`, made when it is first asked for."""
    found = context.extra.get(KEY)
    if not isinstance(found, Live):
        found = context.extra[KEY] = Live(context.relay)
    return found


async def close(context: Context) -> None:
    """When the page's server stops."""
    if isinstance(context.extra.get(KEY), Live):
        await live(context).close()
