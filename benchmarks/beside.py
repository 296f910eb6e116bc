"""`python -m benchmarks gateways`: what a hop costs here, and at the gateways that others use.

Exit code 0; 1 if an answer was wrong, or with `--must` a figure is not what it must be; 2 if it
could not be measured.
"""

from __future__ import annotations

import datetime
import sys
import time
from pathlib import Path

import click
import orjson
from rich.console import Console

from . import beside_goals, beside_report, beside_run, cpu, machine
from .beside_summary import Summary, failures
from .gateways import BenchmarkError
from .our_rows import ROWS

FAILED, IMPOSSIBLE = 1, 2


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), help="Turns of each row: 3, with --quick 1.")
@click.option("--quick", is_flag=True, help="Short turns and few scenarios, in two minutes.")
@click.option("--row", "names", multiple=True, type=click.Choice(list(ROWS)), help="Only these.")
@click.option(
    "--streams",
    type=click.IntRange(0),
    default=beside_run.STREAMS,
    show_default=True,
    help="To hold at once; 0 for none, as with --quick.",
)
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="All of it.")
@click.option("--must", is_flag=True, help="Fail where a figure is not what it must be.")
@click.option("--write-docs", is_flag=True, help="Put the results into docs/performance.md.")
def gateways(
    rounds: int | None, quick: bool, names: tuple[str, ...], streams: int, file: Path | None,
    must: bool, write_docs: bool,
) -> None:  # fmt: skip
    """Measure the relay beside other gateways, which are installed for it."""
    if write_docs and (quick or names or streams != beside_run.STREAMS):
        raise click.UsageError("--write-docs takes a whole run: no --quick, --row or --streams")
    # Where no terminal says how wide it is, nothing is to be broken into pieces.
    console = Console(width=None if sys.stdout.isatty() else 200)
    plan = beside_run.Plan(
        [row for row in ROWS.values() if not names or row.name in names],
        rounds or (1 if quick else 3),
        beside_run.QUICK if quick else beside_run.SECONDS,
        0 if quick else beside_run.room_for(streams),
    )
    try:
        complaints = _measure(plan, file, must, write_docs, console)
    except BenchmarkError as exc:
        Console(stderr=True).print(str(exc), markup=False, highlight=False)
        sys.exit(IMPOSSIBLE)
    for complaint in complaints:
        console.print(complaint, style="red", markup=False, highlight=False)
    sys.exit(FAILED if complaints else 0)


def _measure(
    plan: beside_run.Plan, file: Path | None, must: bool, write_docs: bool, console: Console
) -> list[str]:
    """Run, print and write; returns what is wrong with the results."""
    if not cpu.supported():
        raise BenchmarkError("CPU time and memory can be read on Linux only")
    about = beside_report.About(
        machine.machine(), machine.versions(), plan.rounds, f"{datetime.date.today():%Y-%m-%d}",
        machine.load(), cpu.cores() is not None, plan.seconds, plan.streams,
    )  # fmt: skip
    begun = time.monotonic()
    found = beside_run.run(plan, lambda text: click.echo(text, err=True))
    summary = Summary(found.turns)
    beside_report.tables(summary, console)
    for note in beside_report.notes(found, summary):
        console.print(note, markup=False, highlight=False)
    click.echo(f"{(time.monotonic() - begun) / 60:.1f} minutes", err=True)
    if file is not None:
        file.write_bytes(_json(about, found))
    complaints = failures(found) + (list(beside_goals.missed(summary)) if must else [])
    if write_docs and not complaints:
        beside_report.write(found, summary, about)
    return complaints


def _json(about: beside_report.About, found: beside_run.Found) -> bytes:
    return orjson.dumps({"about": about, "found": found}, option=orjson.OPT_INDENT_2)
