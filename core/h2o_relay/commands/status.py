"""`h2o status`: how the models of a running relay are doing, once or as it changes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from .failures import FAILED, Mistake
from .logs import log_if_asked
from .loops import run_async
from .options import RelayCommand, chosen_level, settings_of, switch
from .relay_client import RelayClient, relay_options
from .status_rows import Row, chosen

if TYPE_CHECKING:
    from .status_source import News
    from .status_trouble import Trouble

REFRESH = 2  # times a second that a table is drawn anew, for its clocks


@click.command(cls=RelayCommand, short_help="How the models of a running relay are doing.")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@switch("watch", help="Go on, and show every change; the default on a terminal.")
@switch("once", help="Show it once; the default everywhere else.")
@switch("json", help="Print JSON: one object, or with --watch one a line for each change.")
@relay_options
def status(models: tuple[str, ...], **flags: Any) -> int:
    """Show each model's state, since when and why, its speed, and the requests it has.

    The relay's admin key shows more than a caller's: the servers, their own load, their last
    errors, models that are not listed, and what is wrong with the relay itself. Ctrl-C ends it.
    Exits with 0 if every model can answer, 1 if one cannot, 3 if no relay answers.

    \b
    h2o status
    h2o status --once llama-3 && echo "it can answer"
    h2o status --url http://10.0.0.9:5000 --key env:KEY
    h2o status --json --watch | jq .
    """
    watch = _watches(flags)
    settings = settings_of(flags)
    log_if_asked(chosen_level(flags))
    relay = RelayClient(flags, settings)
    if watch:
        return run_async(_watch(relay, models, bool(flags.get("json"))))
    return run_async(_once(relay, models, bool(flags.get("json"))))


def _watches(flags: Mapping[str, Any]) -> bool:
    """Whether it goes on. Raises Mistake."""
    watch, once = flags.get("watch"), flags.get("once")
    if watch and once:
        raise Mistake("--watch goes on, and --once does not: give one of them")
    if watch is None and once is None:
        return sys.stdout.isatty() and not flags.get("json")
    return bool(watch) or once is False


async def _once(relay: RelayClient, names: Sequence[str], as_json: bool) -> int:
    from .status_source import looked
    from .tables import print_json

    async with relay:
        news = await looked(relay)
    rows = chosen(news.rows, names)
    if as_json:
        print_json(told(relay.url, rows, news.troubles))
    else:
        _print(rows, relay.url, news)
    return 0 if rows and all(row.answers for row in rows) else FAILED


async def _watch(relay: RelayClient, names: Sequence[str], as_json: bool) -> int:
    """Until a signal ends it."""
    from .status_source import followed

    async with relay, aclosing(followed(relay)) as news:
        if sys.stdout.isatty() and not as_json:
            return await _draw(news, relay.url, names)
        async for new in news:
            rows = chosen(new.rows, names)
            if as_json:
                line = told(relay.url, rows, new.troubles) | {"problem": new.problem or None}
                click.echo(json.dumps(line, ensure_ascii=False))
            else:
                _print(rows, relay.url, new)
                click.echo()
    return 0


async def _draw(news: AsyncGenerator[News, None], url: str, names: Sequence[str]) -> int:
    from rich.live import Live

    from .status_table import live
    from .status_trouble import lines
    from .tables import console

    out = console()
    new = await anext(news)  # what is wrong from the beginning is told on a clean screen

    def drawn() -> Any:
        now = time.time()
        wrong = [line for line in (new.problem, *lines(new.troubles, now)) if line]
        return live(chosen(new.rows, names), url, wrong, now, out.width)

    with Live(console=out, refresh_per_second=REFRESH, get_renderable=drawn) as screen:
        async for later in news:
            new = later
            screen.refresh()
    return 0


def told(url: str, rows: Sequence[Row], troubles: Iterable[Trouble] = ()) -> dict[str, Any]:
    """For programs; durations are seconds, points in time Unix time."""
    models = [asdict(row) | {"answers": row.answers} for row in rows]
    return {"url": url, "models": models, "trouble": [asdict(one) for one in troubles]}


def _print(rows: Sequence[Row], url: str, news: News) -> None:
    from .status_table import summary, table
    from .status_trouble import lines
    from .tables import console

    out = console()
    with out.capture() as captured:
        out.print(table(rows, time.time(), out.width))
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))
    if not rows or news.problem:
        click.echo(f"{url}: {news.problem or summary(rows)}", err=True)
    for line in lines(news.troubles, time.time()):
        click.echo(f"{url}: {line}", err=True)
