"""`python -m benchmarks page`: how soon the page is there, paints, and copes with many people.

Exit code 0; 1 if an answer was wrong or a figure is above its limit; 2 if it could not be measured.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console

from . import machine, page_report, page_run
from .gateways import BenchmarkError

FAILED, IMPOSSIBLE = 1, 2


def limits(command: Callable[..., None]) -> Callable[..., None]:
    """An option for every figure that has a limit."""
    for figure in reversed(page_report.GUARDED):
        flag = f"--{figure.option.replace('_', '-')}"
        command = click.option(flag, type=float, help=f"Fail above: {figure.help}")(command)
    return command


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), help="Starts of h2o run: 3, with --quick 1.")
@click.option("--quick", is_flag=True, help="One short round, for a first impression.")
@click.option("--people", type=click.IntRange(1), default=50, help="Who chat at once: 50.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="All of it.")
@click.option("--write-docs", is_flag=True, help="Put the results into docs/performance.md.")
@limits
def page(
    rounds: int | None, quick: bool, people: int, file: Path | None, write_docs: bool,
    **limits: float | None,
) -> None:  # fmt: skip
    """Measure the page: its start, its painting in a browser, and many people at once."""
    if write_docs and (quick or people != 50):
        raise click.UsageError("--write-docs takes a whole run: no --quick, no other --people")
    # Where no terminal says how wide it is, nothing is to be broken into pieces.
    console = Console(width=None if sys.stdout.isatty() else 120)
    plan = page_run.Plan(
        rounds or (1 if quick else 3), people, *((4, 4.0) if quick else (10, 15.0))
    )
    try:
        complaints = _measure(plan, file, write_docs, limits, console)
    except BenchmarkError as exc:
        Console(stderr=True).print(str(exc), markup=False, highlight=False)
        sys.exit(IMPOSSIBLE)
    for complaint in complaints:
        console.print(complaint, style="red", markup=False, highlight=False)
    sys.exit(FAILED if complaints else 0)


def _measure(
    plan: page_run.Plan, file: Path | None, write_docs: bool, limits: dict[str, float | None],
    console: Console,
) -> list[str]:  # fmt: skip
    """Run, print and write; returns what is wrong with the results."""
    date, load = f"{datetime.date.today():%Y-%m-%d}", machine.load()
    if missing := page_run.no_browser():
        if write_docs:
            raise BenchmarkError(f"--write-docs needs a browser: {missing}")
        click.echo(f"Painting is left out: {missing}.", err=True)
    rounds = page_run.run(plan, lambda text: click.echo(text, err=True))
    found = page_report.lines(rounds)
    page_report.table(found, plan, console)
    if file is not None:
        file.write_bytes(_json(plan, rounds, found, date, load))
    complaints = page_report.failures(rounds) + page_report.beyond(found, limits)
    if write_docs and not complaints:
        page_report.write(found, rounds, plan, date, load)
    return complaints


def _json(plan: page_run.Plan, rounds: list[page_run.Round], found: list[page_report.Line],
          date: str, load: str) -> bytes:  # fmt: skip
    about = {"machine": machine.machine(), "versions": machine.versions(), "date": date,
             "load": load, "plan": plan}  # fmt: skip
    everything: dict[str, Any] = {"about": about, "rounds": rounds,
                                  "summary": page_report.plain(found)}  # fmt: skip
    return orjson.dumps(everything, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
