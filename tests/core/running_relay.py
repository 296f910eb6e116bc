"""A relay on a loop of its own, for commands that have theirs."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from h2o_relay.administration import Administration
from h2o_relay.kernel import Given, Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.pools import PoolSpec
from h2o_relay.testing import echo
from h2o_relay.testing.settings import quick
from h2o_relay_proxy.app import create_app
from h2o_relay_proxy.ports import address, bind
from h2o_relay_proxy.server import running

from .plain import module

ADMIN = "admin-canary-8b11"
KEY = "caller-canary-77ae"
LONG = 20.0  # seconds for anything that the relay's thread is waited for


@dataclass
class Relay:
    """`url` is without a path."""

    url: str
    kernel: Kernel
    loop: asyncio.AbstractEventLoop
    admin: Administration

    def call(self, coroutine: Any) -> Any:
        """Run something on the relay's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(LONG)


class Running:
    """`with Running("echo:m") as relay`: the relay of these servers and pools, once each server was
    looked at. Callers need `KEY`, administration `ADMIN`, unless `changes` of the settings say
    otherwise. Port 0 is any.
    """

    def __init__(
        self, *servers: Given, pools: Sequence[PoolSpec] = (), port: int = 0, **changes: Any
    ) -> None:
        self._servers, self._pools, self._port = servers, pools, port
        self._changes = {"admin_pass": ADMIN, "api_key": KEY, **changes}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._stack = contextlib.AsyncExitStack()

    def __enter__(self) -> Relay:
        self._thread.start()
        return self._on_loop(self._stack.enter_async_context(self._relay()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        try:
            self._on_loop(self._stack.aclose())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _on_loop(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(LONG)

    @contextlib.asynccontextmanager
    async def _relay(self) -> AsyncIterator[Relay]:
        settings = quick(**self._changes)
        plugins = Plugins.of(echo=echo, plain=module())
        async with Kernel(settings, list(self._servers), plugins, list(self._pools)) as kernel:
            await kernel.settled(LONG)
            sock = bind("127.0.0.1", self._port)
            admin = Administration(kernel)
            app = create_app(kernel, settings, kernel.instance, admin, "internal")
            async with running(app, settings, sock):
                yield Relay(address(sock), kernel, self._loop, admin)
