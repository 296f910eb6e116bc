"""Getting what servers need on this machine, with a progress bar for whoever waits for it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..settings import Settings
from .printable import one_line
from .servers import resolved
from .tables import console

if TYPE_CHECKING:
    from rich.progress import Progress

    from ..plugins import Plugins
    from ..types import Server


async def fetch_all(
    plugins: Plugins, servers: Iterable[Server], settings: Settings
) -> list[Path | None]:
    """Call the `fetch` hook for each server; returns where each one's files lie.

    Nothing is shown where nothing has to be fetched. Raises what the hooks raise.
    """
    paths: list[Path | None] = []
    with Shown() as progress:
        for server in servers:
            if server.plugin is None:
                paths.append(None)
                continue
            fetch = plugins.get(server.plugin).fetch
            paths.append(await fetch(resolved(server, settings), progress))
    return paths


class Shown:
    """The `Progress` that hooks report to: a bar on a terminal, else a line for each thing.

    May be called from any thread.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._bar: Progress | None = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, done: int, total: int | None, what: str) -> None:
        new = what not in self._tasks
        if not sys.stderr.isatty():
            self._tasks[what] = None
            if new:
                size = f" ({total / 1e6:.0f} MB)" if total else ""
                click.echo(f"h2o: {one_line(what)}{size}", err=True)
            return
        if self._bar is None:
            self._bar = self._stack.enter_context(_bar())
        if new:
            self._tasks[what] = self._bar.add_task(one_line(what), total=total)
        self._bar.update(self._tasks[what], completed=done, total=total)


@contextlib.contextmanager
def _bar() -> Iterator[Progress]:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(stderr=True)) as bar:
        yield bar
