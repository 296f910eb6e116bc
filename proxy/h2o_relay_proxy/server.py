"""Running the API: ports, the server's life, the chat UI beside it, and what people are told."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from h2o_relay.accounting.stored_keys import any_stored
from h2o_relay.administration import Administration
from h2o_relay.configuration import Configuration, all_specs
from h2o_relay.entry import entry_of
from h2o_relay.errors import StoreError
from h2o_relay.hosts import is_exposed
from h2o_relay.kernel import Given, Kernel
from h2o_relay.logtail import LogTail
from h2o_relay.plugins import Plugins
from h2o_relay.pools import PoolSpec
from h2o_relay.settings import SettingError, Settings

from .announce import announce
from .app import create_app
from .chat_ui import chat_ui, why_not
from .listening import Server, running
from .opening import opened_desk
from .ports import address, api_socket, inner_socket
from .reloading import reloading
from .stored import AGAIN, check_store, stored_models
from .tls import check_tls, is_secure

if TYPE_CHECKING:
    from h2o_relay.config import Config

K = TypeVar("K", bound=Kernel)
YOUNG = 20_000  # objects after which the collector looks at them
log = logging.getLogger(__name__)


def serve(
    settings: Settings,
    servers: Sequence[Given],
    plugins: Plugins | None = None,
    out: TextIO | None = None,
    pools: Sequence[PoolSpec] = (),
    config: Config | None = None,
) -> int:
    """Serve until stopped; the process's exit status: 0, or 128 and the number of the second signal
    where that ended it.

    `servers` and `pools` are what the command line says, and `config` the configuration file as it
    was read: what the file says is served after them, and read again when it changes. Raises
    SettingError for a port, an address or a store that cannot be used, InvalidRequest for a model
    of the file that cannot be served.
    """
    check_store(settings)
    check_exposure(settings)
    check_use(settings)
    check_tls(settings)
    if settings.workers > 1:
        from .workers.coordinator import serve_together

        return serve_together(settings, servers, plugins, out, pools, config)
    api = api_socket(settings)
    plugins = plugins or Plugins.discover(settings.load_plugins)
    with contextlib.closing(api):
        kernel, configuration = configured(Kernel, settings, servers, plugins, pools, config)
        return run(_serve(kernel, configuration, api, out or sys.stdout))


def configured(
    kind: type[K], settings: Settings, servers: Sequence[Given], plugins: Plugins,
    pools: Sequence[PoolSpec], config: Config | None,
) -> tuple[K, Configuration]:  # fmt: skip
    """A kernel of that kind for all that is to be served. Raises as `serve` does."""
    given = [spec for server in servers if (spec := entry_of(plugins, server).spec)]
    specs = all_specs(given, config, settings, plugins)
    every_pool = [*pools, *(config.pools if config else ())]
    kernel = kind(settings, specs, plugins, every_pool)
    return kernel, Configuration(kernel, given, pools, config)


def run(coroutine: object) -> int:
    """Run on uvloop where there is one."""
    if sys.platform == "win32":
        return asyncio.run(coroutine)  # type: ignore[arg-type]
    import uvloop

    return uvloop.run(coroutine)  # type: ignore[arg-type]


async def _serve(
    kernel: Kernel, configuration: Configuration, api: socket.socket, out: TextIO
) -> int:
    key, settings = secrets.token_urlsafe(32), kernel.settings
    with log_tail() as tail:
        async with kernel, stored_models(settings) as stored, AsyncExitStack() as stack:
            admin = Administration(kernel, stored, tail, configuration)
            told = settings if settings.serves_api else closed(settings, key)
            opened = await stack.enter_async_context(
                opened_desk(kernel, settings, lambda: configuration.prices, key)
            )
            admin.kept = opened.usage
            app = create_app(kernel, told, kernel.instance, admin, key, opened.desk, opened.keys)
            inner = inner_socket(settings)
            async with running(app, settings, api, inner) as server:
                url = address(api, is_secure(settings))
                settle_memory()
                async with (
                    chat_ui(settings, address(inner or api), key) as ui,
                    reloading(configuration, server.leave),
                    beside(
                        announce(kernel, settings, url, ui, out, opened.desk.ring),
                        restored(admin),
                    ),
                ):
                    await server.stopped.wait()
            return server.status


@contextlib.asynccontextmanager
async def beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these for the length of the block, at most."""
    tasks = [watched(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def watched(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that nobody waits for: if it fails, the log says so at once."""
    task = asyncio.create_task(work)
    task.add_done_callback(_log_failure)
    return task


def _log_failure(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("something beside the answers failed", exc_info=error)


async def restored(admin: Administration) -> None:
    """Serve again what was added in earlier runs, once the store can be read."""
    told = ""
    while True:
        try:
            return await admin.restore()
        except StoreError as error:
            if error.message != told:
                told = error.message
                log.warning("models that were added before are not there yet: %s", told)
        await asyncio.sleep(AGAIN)


@contextlib.contextmanager
def log_tail() -> Iterator[LogTail]:
    """The log's last lines, kept for the length of the block."""
    tail = LogTail()
    root = logging.getLogger()
    root.addHandler(tail)
    try:
        yield tail
    finally:
        root.removeHandler(tail)


def settle_memory() -> None:
    """Let the garbage collector pass over what is there from the start: a full collection of it
    stalls every stream for tens of milliseconds. And let it look less often: requests leave nothing
    behind that holds itself (tests/proxy/test_letting_go.py), so that it hardly ever finds any.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])


def closed(settings: Settings, key: str) -> Settings:
    """The settings of an API that takes the internal key and no other, for the chat UI alone."""
    return replace(
        settings, api_key=key, h2ogpt_api_keys=None, enforce_h2ogpt_api_key=None,
        enforce_h2ogpt_ui_key=None, admin_pass=None,
    )  # fmt: skip


def check_use(settings: Settings) -> None:
    """Refuse to run where neither programs nor people could use it. Raises SettingError."""
    problem = why_not(settings)
    if problem and not settings.serves_api:
        why = f"the API is switched off, and the chat UI is {problem}"
        raise SettingError(f"nobody could use this relay: {why}")


def check_exposure(settings: Settings) -> None:
    """Refuse to listen beyond loopback without a key. Raises SettingError."""
    if not is_exposed(settings) or any_stored(settings):
        return
    raise SettingError(
        f"--host {settings.host} would let anyone on the network use this relay: make a key with "
        "`h2o keys create NAME` or H2OGPT_OPENAI_API_KEY, or insist with --allow-open"
    )


__all__ = ["Server", "check_exposure", "running", "serve"]
