"""The configuration file while the relay runs: read again when it changes, and at SIGHUP."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from h2o_relay.configuration import Configuration
from h2o_relay.errors import RelayError
from h2o_relay.watching import watch

from .listening import signals

log = logging.getLogger(__name__)


async def reload(configuration: Configuration) -> None:
    """Read the file again; the log has what that came to. Raises nothing: a relay goes on as it
    was.
    """
    try:
        with contextlib.suppress(RelayError):
            await configuration.reload()
    except Exception:
        name = Path(configuration.path or "").name
        log.exception("%s could not be applied, the old configuration goes on", name)


@contextlib.asynccontextmanager
async def reloading(configuration: Configuration, leave: Callable[[], None]) -> AsyncIterator[None]:
    """Follow the file inside the block, if there is one. Where it is, SIGHUP means `reload`, but
    for that of a terminal that is closed: then it is `leave`.
    """
    path = configuration.path
    if path is None:
        yield
        return
    config = configuration.config
    known = None if config is None else config.mark  # it may have changed while the relay started
    asked = asyncio.Event()
    on_terminal = is_terminal()

    def hung_up() -> None:
        if on_terminal and not is_terminal():
            leave()
        else:
            asked.set()

    tasks = [
        asyncio.create_task(
            watch(path, lambda: reload(configuration), known=known), name=f"watching {path}"
        ),
        asyncio.create_task(_follow(asked, configuration), name="SIGHUP"),
    ]
    with signals({} if sys.platform == "win32" else {signal.SIGHUP: hung_up}):
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _follow(asked: asyncio.Event, configuration: Configuration) -> None:
    """Reload once for each time, or for several at once, that it is asked for."""
    while True:
        await asked.wait()
        asked.clear()
        await reload(configuration)


def is_terminal() -> bool:
    """Whether the relay was started in a terminal that is still there."""
    return any(os.isatty(number) for number in (0, 1, 2))
