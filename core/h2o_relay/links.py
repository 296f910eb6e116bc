"""One open server: a task that owns its connection, leases that keep it, retirement that waits.

`connect()` is entered and left by the same task, whoever asks for the server, because context
managers built on anyio break otherwise. A request takes a lease; a retired link serves the leases
that it has and closes after the last.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator
from typing import Any

from .errors import RelayError, UpstreamUnavailable, redact
from .gate import Gate
from .http import HttpClient
from .plugins import Plugin
from .types import Endpoint, Server

FIRST_WAIT = 0.5  # seconds before the second try to open a server
LONGEST_WAIT = 30.0
log = logging.getLogger(__name__)


class Link:
    """`client` is what the plugin's hooks are given; None while the server is not open."""

    def __init__(self, plugin: Plugin, server: Server, http: HttpClient) -> None:
        self.plugin = plugin
        self.server = server
        self.capabilities = plugin.capabilities(server)
        self.client: Any = None
        self.error: RelayError | None = None
        self.leases = 0
        self.others = 0
        """Requests of other processes of this relay that run there, as last heard."""
        self.endpoint: Endpoint | None = None
        """While it is open: where it is, if its plugin has left the rest to the kernel's client."""
        self._gate: Gate | None = None
        self._http = http
        self._ready = asyncio.Event()
        self._free: asyncio.Event | None = None  # while it is being retired
        self._owner: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to open the server, in the background."""
        if self.plugin.connect is None:
            self.client = self._http
            self._ready.set()
        self._owner = asyncio.create_task(self._own(), name=f"link {self.server.shown}")

    async def wait_open(self, timeout: float | None) -> Any:
        """The client, once the server is open. Raises what it failed with, UpstreamUnavailable
        if it is not open after `timeout` seconds; None waits as long as it takes.
        """
        if self.client is None and self.error is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._ready.wait()
        if self.client is None:
            raise self.error or UpstreamUnavailable("the server is still starting", retry_after=5)
        return self.client

    def gate(self, limit: int | None) -> Gate | None:
        """What a request passes through where at most `limit` may run at the same time. A limit
        that was changed meanwhile goes before that of a request's route.
        """
        if self._gate is None and limit is not None:
            self._gate = Gate(limit)
        return self._gate

    def limit(self, limit: int | None) -> None:
        """From now on so many requests may run at the same time; None for any number."""
        if self._gate is not None:
            self._gate.change(limit)
        elif limit is not None:
            self._gate = Gate(limit)

    def lease(self) -> None:
        """Keep the link open until `release`."""
        self.leases += 1

    def release(self) -> None:
        self.leases -= 1
        if self.leases == 0 and self._free is not None:
            self._free.set()

    async def retire(self, timeout: float) -> None:
        """Wait for the leases to end (at most `timeout` seconds), then close; at once if it is
        cancelled.
        """
        try:
            if self.leases:
                self._free = asyncio.Event()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await self._free.wait()
        finally:
            if self._owner is not None:
                self._owner.cancel()
                await asyncio.wait([self._owner])
                self._owner = None

    async def _own(self) -> None:
        wait = FIRST_WAIT
        while True:
            try:
                async with self._connected():
                    wait = FIRST_WAIT
                    await asyncio.Event().wait()  # until cancelled by retire()
            except asyncio.CancelledError:
                raise
            except RelayError as error:
                self._failed(error)
            except Exception as error:
                log.warning("plugin %s failed to open its server", self.plugin.name, exc_info=error)
                reason = redact({"": str(error)}, self.server.key)[""]
                self._failed(UpstreamUnavailable(f"the server could not be opened: {reason}"))
            if _leaving():
                return  # it closed badly, or as if nobody had cancelled it
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))
            wait = min(wait * 2, LONGEST_WAIT)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        if self.plugin.connect is None:
            yield
            return
        async with self.plugin.connect(self.server, self._http) as client:
            if isinstance(client, Endpoint):
                self.endpoint = client
                client = self._http.at(client.url, client.headers)
            self.client = self._http if client is None else client
            self.error = None
            self._ready.set()
            try:
                yield
            finally:
                self.client = self.endpoint = None
                self._ready.clear()

    def _failed(self, error: RelayError) -> None:
        if self.error is None or self.error.message != error.message:
            log.warning("%s: %s", self.server.shown, error.message)
        self.error = error
        self._ready.set()  # whoever waits is told
        self._ready = asyncio.Event()


def _leaving() -> bool:
    """Whether this task was cancelled, even if another error hides that."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
