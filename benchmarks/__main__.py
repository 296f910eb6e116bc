"""`python -m benchmarks`: what a hop through the relay costs, beside a bare relay.

`python -m benchmarks gateways` measures it beside other gateways (`beside.py`), and
`python -m benchmarks page` what the page does (`page.py`).

Exit code 0; 1 if an answer was wrong or a ratio is above its limit; 2 if it could not be measured.
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

import click
import orjson
from rich.console import Console

from . import cpu, machine, report, summary
from .beside import gateways
from .gateways import GATEWAYS, BenchmarkError
from .page import page
from .profiling import profile
from .run import DEFAULT, Plan, Turn, run, scenarios

FAILED, IMPOSSIBLE = 1, 2
Names = tuple[str, ...]


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), help="Turns of each row: 3, with --quick 1.")
@click.option("--quick", is_flag=True, help="Short turns, for a first impression.")
@click.option("--row", "rows", multiple=True, type=click.Choice(list(GATEWAYS)), help="Only these.")
@click.option("--scenario", "names", multiple=True, help="Only these; p100, ns64, ns1 by default.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="All of it.")
@click.option("--max-ratio", type=float, help="Fail where CPU time, to the reference, is more.")
@click.option("--token-slack", type=float, default=0.0, help="Added to it per token: 0.25 is 25 %.")
@click.option("--request-slack", type=float, default=0.0, help="The same per request.")
@click.option("--write-docs", is_flag=True, help="Put the results into docs/performance.md.")
@click.pass_context
def main(
    context: click.Context, rounds: int | None, quick: bool, rows: Names, names: Names,
    file: Path | None, max_ratio: float | None, token_slack: float, request_slack: float,
    write_docs: bool,
) -> None:  # fmt: skip
    """Measure what a hop through h2o relay costs, beside a bare relay, in the same run."""
    if context.invoked_subcommand is not None:
        return _alone(context)
    if write_docs and (quick or rows or names):
        raise click.UsageError("--write-docs takes a whole run: no --quick, --row or --scenario")
    # Where no terminal says how wide it is, nothing is to be broken into pieces.
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        about, turns = _measure(rounds or (1 if quick else 3), quick, rows, names)
        found = summary.lines(turns)
        report.table(found, console)
        if file is not None:
            file.write_bytes(_json(about, turns, found))
        complaints = summary.failures(turns)
        if max_ratio is not None:
            slack = {"token": token_slack, "request": request_slack}
            limits = {kind: max_ratio * (1 + share) for kind, share in slack.items()}
            complaints += summary.beyond(found, limits)
        if write_docs and not complaints:
            report.write(found, about)
    except BenchmarkError as exc:
        Console(stderr=True).print(str(exc), markup=False, highlight=False)
        sys.exit(IMPOSSIBLE)
    for complaint in complaints:
        console.print(f"[red]{complaint}[/red]", highlight=False)
    sys.exit(FAILED if complaints else 0)


def _alone(context: click.Context) -> None:
    """Another benchmark takes none of this one's options; raises UsageError if there are some."""
    for name in context.params:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"options go behind {context.invoked_subcommand}")


def _measure(
    rounds: int, quick: bool, rows: Names, names: Names
) -> tuple[report.About, list[Turn]]:
    if not cpu.supported():
        click.echo("CPU time and memory can be read on Linux only: they are left out.", err=True)
    plan = Plan(
        [row for row in GATEWAYS.values() if not rows or row.name in rows],
        rounds,
        scenarios(names or DEFAULT, quick),
    )
    about = report.About(
        machine.machine(), machine.versions(), rounds, f"{datetime.date.today():%Y-%m-%d}",
        machine.load(), cpu.cores() is not None, plan.seconds,
    )  # fmt: skip
    return about, run(plan, lambda text: click.echo(text, err=True))


def _json(about: report.About, turns: list[Turn], found: list[summary.Line]) -> bytes:
    plain = {
        "about": about,
        "turns": [turn.plain() for turn in turns],
        "summary": summary.plain(found),
    }
    return orjson.dumps(plain, option=orjson.OPT_INDENT_2)


main.add_command(page)
main.add_command(gateways)
main.add_command(profile)

if __name__ == "__main__":
    main()
