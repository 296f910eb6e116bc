"""Getting what a server needs on this machine (model weights) before it is opened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from .plugins import Plugins
from .spec import ServerSpec
from .types import Server

if TYPE_CHECKING:
    from .catalog import Before
    from .entry import Entry


def before_of(spec: ServerSpec, plugins: Plugins) -> Before | None:
    """What gets the server's files; None if it needs none. `spec` is parsed."""
    server = spec.server
    assert isinstance(server, Server)
    if server.plugin is None or "fetch" not in plugins.get(server.plugin).hooks:
        return None
    plugin = plugins.get(server.plugin)

    async def fetch(entry: Entry, changed: Callable[[], None]) -> None:
        last = ""

        def progress(done: int, total: int | None, what: str) -> None:
            nonlocal last
            share = f"{100 * done // total} %" if total else f"{done // 2**20} MiB"
            entry.reason = f"getting {what}: {share}"
            if entry.reason != last:
                last = entry.reason
                loop.call_soon_threadsafe(changed)

        loop = asyncio.get_running_loop()
        await plugin.fetch(server, progress)
        entry.reason = ""

    return fetch
