"""`python -m benchmarks profile`: where a relay spends the time of a token or a request."""

from __future__ import annotations

import datetime
import os
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from . import cpu, machine, report
from .gateways import Gateway, Launch, Place, gateway, upstream
from .layers import shares
from .load import SCENARIOS, Result
from .our_rows import ROWS
from .run import load

MODULES = {
    "reference": "benchmarks.reference_relay", "h2o": "h2o_relay.cli", "h2o-keys": "h2o_relay.cli",
}  # fmt: skip
DOCUMENTED = (("p100", "token"), ("ns64", "request"))
BEGIN = "<!-- profile: written by python -m benchmarks profile --write-docs -->"
END = "<!-- end of the profile -->"


def sampled(row: Gateway, file: Path) -> Gateway:
    """The same row, under the sampler."""
    make = row.launch
    assert make is not None
    module = MODULES[row.name]

    def launch(place: Place) -> Launch:
        plain = make(place)
        # What follows the program itself: `python -m module` or the console script.
        arguments = plain.command[3:] if plain.command[1] == "-m" else plain.command[1:]
        sampler = [sys.executable, "-m", "benchmarks.sampler", str(file), module]
        return replace(plain, command=[*sampler, *arguments])

    return Gateway(row.name, row.about, launch)


def run(row: Gateway, scenario: str, seconds: float) -> tuple[Result, dict[str, Any]]:
    """The scenario's result, and the samples taken during it."""
    core, others = cpu.cores() or (None, None)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "samples.json"
        with upstream(others) as url, gateway(sampled(row, file), url, core) as running:
            assert running.pid is not None
            os.kill(running.pid, signal.SIGUSR1)
            result = load(scenario, seconds, running, core, others)
            os.kill(running.pid, signal.SIGUSR1)
        samples: dict[str, Any] = orjson.loads(file.read_bytes())
        return result, samples


def show(title: str, counts: dict[str, int], total: int, each: float, top: int) -> Table:
    """The greatest shares; `each` is microseconds of CPU time for one token or request."""
    view = Table(title=title, title_justify="left")
    for name in ("share", "µs"):
        view.add_column(name, justify="right")
    view.add_column("where")
    # What is on every stack is only how the process was started.
    telling = [(where, count) for where, count in counts.items() if count < total]
    for where, count in sorted(telling, key=lambda pair: -pair[1])[:top]:
        share = count / total
        view.add_row(f"{share:.1%}", f"{share * each:.1f}", where)
    return view


@click.command("profile", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--row", type=click.Choice(list(MODULES)), default="h2o", show_default=True)
@click.option("--scenario", type=click.Choice(list(SCENARIOS)), default="p100", show_default=True)
@click.option("--seconds", type=float, default=20.0, show_default=True)
@click.option("--top", type=int, default=25, show_default=True)
@click.option("--write-docs", is_flag=True, help="Put a table of h2o-keys' parts into the docs.")
def profile(row: str, scenario: str, seconds: float, top: int, write_docs: bool) -> None:
    """Where the time of a token or a request goes, by lines and functions."""
    if write_docs:
        report.put(BEGIN, END, markdown(seconds))
        return
    result, samples = run(ROWS[row], scenario, seconds)
    console = Console(width=None if sys.stdout.isatty() else 120)
    count, what = (result.tokens, "token") if result.tokens else (result.requests, "request")
    each = (result.cpu or 0) * 1e6 / count
    total = max(1, samples["total"])
    console.print(f"{row}, {scenario}: {each:.1f} µs for each {what}, {total} samples")
    console.print(show("lines", samples["lines"], total, each, top))
    console.print(show("functions, with what they call", samples["functions"], total, each, top))


def markdown(seconds: float) -> str:
    """The parts of a token and of a request, with everything on that a team switches on."""
    found = {
        what: shares(run(ROWS["h2o-keys"], scenario, seconds)[1]["lines"])
        for scenario, what in DOCUMENTED
    }
    scenarios = " and ".join(name for name, _ in DOCUMENTED)
    today = f"{datetime.date.today():%Y-%m-%d}"
    head = [
        f"Sampled on {today}, {machine.machine()}: row `h2o-keys`, {seconds:g} s of {scenarios}.",
        "",
        f"| part | {' | '.join(f'of a {what}' for what in found)} |",
        "| --- |" + " ---: |" * len(found),
    ]
    first, *others = found.values()
    parts = dict.fromkeys([*first, *(part for other in others for part in other)])
    rows = [
        f"| {part} | {' | '.join(f'{share.get(part, 0):.0%}' for share in found.values())} |"
        for part in parts
    ]
    return "\n".join([*head, *rows]) + "\n"


if __name__ == "__main__":
    profile()
