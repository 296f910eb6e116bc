"""`serve` with several workers: the process that starts them, and all that they have in common."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TextIO

from h2o_relay.accounting.limits import Limits
from h2o_relay.accounting.sliced_counters import SlicedCounters
from h2o_relay.accounting.slices import Coordinator
from h2o_relay.accounting.usage_kept import KeptUsage
from h2o_relay.administration import Administration
from h2o_relay.configuration import Configuration
from h2o_relay.kernel import Given
from h2o_relay.logtail import LogTail
from h2o_relay.plugins import Plugins
from h2o_relay.pools import PoolSpec
from h2o_relay.settings import SettingError, Settings
from h2o_relay.workers.channel import Channel, Handlers
from h2o_relay.workers.leading import LeadingKernel
from h2o_relay.workers.slices_link import slices_handlers

from ..announce import announce
from ..chat_ui import chat_ui
from ..dialects.responses import Kept
from ..opening import seed
from ..ports import address, inner_socket
from ..reloading import reloading
from ..server import beside, configured, log_tail, restored, run, settle_memory
from ..stored import stored_models
from ..tls import is_secure
from .crew import Crew
from .remote_admin import admin_handler
from .shared_kept import kept_handlers
from .shared_metrics import Adding
from .shared_ring import keys_handler
from .sockets import worker_sockets
from .welcome import Welcome

if TYPE_CHECKING:
    from h2o_relay.accounting.usage_query import UsageQuery, UsageReport
    from h2o_relay.config import Config

FLUSHED = 5.0  # seconds for workers to store the usage that they have noted
log = logging.getLogger(__name__)


def serve_together(
    settings: Settings, servers: Sequence[Given], plugins: Plugins | None = None,
    out: TextIO | None = None, pools: Sequence[PoolSpec] = (), config: Config | None = None,
) -> int:  # fmt: skip
    """`server.serve`, whose checks have been made, by `settings.workers` processes."""
    if sys.platform == "win32":
        raise SettingError("--workers: there is only one process on Windows")
    plugins = plugins or Plugins.discover(settings.load_plugins)
    with worker_sockets(settings) as sockets:
        kernel, configuration = configured(LeadingKernel, settings, servers, plugins, pools, config)
        return run(_serve(kernel, configuration, sockets, out or sys.stdout))


async def _serve(
    kernel: LeadingKernel, configuration: Configuration, sockets: Sequence[socket.socket],
    out: TextIO,
) -> int:  # fmt: skip
    settings, key = kernel.settings, secrets.token_urlsafe(32)
    with log_tail() as tail:
        async with kernel, stored_models(settings) as stored, contextlib.AsyncExitStack() as stack:
            admin = Administration(kernel, stored, tail, configuration)
            await stack.enter_async_context(kernel.leading(lambda: configuration.prices))
            office = await stack.enter_async_context(opened(kernel, configuration, admin, tail))
            office.welcome = Welcome(
                name="",
                settings=settings,
                instance=kernel.instance,
                created=kernel.created,
                key=key,
            )
            inner = inner_socket(settings)
            crew = Crew(sockets, inner, office.join, office.gone, settings.drain_timeout)
            office.crew = crew
            url = address(sockets[0], is_secure(settings))
            settle_memory()
            async with (
                crew.working(),
                chat_ui(settings, address(inner or sockets[0]), key) as ui,
                reloading(configuration, crew.leave),
                beside(announce(kernel, settings, url, ui, out), restored(admin)),
            ):
                await crew.stopped.wait()
            return crew.status


class Office:
    """What workers have in common, beside what `LeadingKernel` knows of servers."""

    crew: Crew
    welcome: Welcome

    def __init__(
        self, kernel: LeadingKernel, admin: Administration, tail: LogTail, usage: KeptUsage | None,
    ) -> None:  # fmt: skip
        self._kernel, self._tail, self._usage = kernel, tail, usage
        self.slices = Coordinator()
        self.seeded = asyncio.Event()
        self.metrics = Adding(
            kernel, kernel.settings.metrics_keys, lambda: self.crew.ready, self._lost
        )
        self._kept = kept_handlers(Kept())
        admin.kept = self if usage is not None else None
        self._admin = admin_handler(admin, kernel.spread)

    def join(self, name: str, channel: Callable[[], Channel]) -> Handlers:
        """What the channel of a new worker is to answer."""

        def others() -> Sequence[Channel]:
            return [one for other, one in self.crew.ready.items() if other != name]

        def counted(told: Any) -> None:
            self.metrics.note(name, told)

        return {
            **self._kernel.handlers(name, channel), **slices_handlers(self.slices), **self._kept,
            "welcome": lambda: replace(self.welcome, name=name), "admin": self._admin,
            "seeded": self.seeded.wait, "keys_changed": keys_handler(others),
            "metrics": self.metrics.snapshot,
            "last": counted, "log": self._tail.add,
        }  # fmt: skip

    def gone(self, name: str) -> None:
        """A worker has ended."""
        self._kernel.forget(name)
        self.slices.gone(name)
        self.metrics.forget(name)

    async def report(self, query: UsageQuery) -> UsageReport:
        """As `KeptUsage.report`, with what all workers have noted."""
        assert self._usage is not None
        asked = [one.ask("store_usage") for one in self.crew.ready.values()]
        trouble: list[str] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSHED):
                told = await asyncio.gather(*asked, return_exceptions=True)
                trouble = [one for one in told if isinstance(one, str) and one]
        found = await self._usage.report(query)
        return replace(found, trouble="; ".join(filter(None, [found.trouble, *trouble])))

    def _lost(self) -> dict[str, int]:
        return {} if self._usage is None else {"usage": self._usage.counts["dropped"]}


@contextlib.asynccontextmanager
async def opened(
    kernel: LeadingKernel, configuration: Configuration, admin: Administration, tail: LogTail
) -> AsyncIterator[Office]:
    """An office for as long as the workers serve."""
    settings = kernel.settings
    async with contextlib.AsyncExitStack() as stack:
        usage: KeptUsage | None = None
        if find_spec("sqlalchemy") is not None:
            usage = KeptUsage(settings, lambda: configuration.prices)
            await stack.enter_async_context(usage)
        office = Office(kernel, admin, tail, usage)
        await stack.enter_async_context(office.metrics.watching())
        await stack.enter_async_context(beside(_seed(office, usage)))
        yield office


async def _seed(office: Office, usage: KeptUsage | None) -> None:
    """Tell the limits what keys have spent before."""
    limits = Limits(SlicedCounters("coordinator", office.slices), seeded=False)
    await seed(limits, usage)
    office.seeded.set()
