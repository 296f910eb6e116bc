"""`python -m benchmarks.profiling`: where a relay spends the time of a token or a request."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from . import cpu
from .gateways import GATEWAYS, Gateway, gateway, upstream
from .load import SCENARIOS, Result
from .run import load

MODULES = {"reference": "benchmarks.reference_relay", "h2o": "h2o_relay.cli"}


def sampled(row: Gateway, file: Path) -> Gateway:
    """The same row, under the sampler."""
    make = row.command
    assert make is not None
    module = MODULES[row.name]

    def command(port: int, upstream: str) -> list[str]:
        plain = make(port, upstream)
        # What follows the program itself: `python -m module` or the console script.
        arguments = plain[3:] if plain[1] == "-m" else plain[1:]
        return [sys.executable, "-m", "benchmarks.sampler", str(file), module, *arguments]

    return Gateway(row.name, row.about, command)


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


@click.command()
@click.option("--row", type=click.Choice(list(MODULES)), default="h2o", show_default=True)
@click.option("--scenario", type=click.Choice(list(SCENARIOS)), default="p100", show_default=True)
@click.option("--seconds", type=float, default=20.0, show_default=True)
@click.option("--top", type=int, default=25, show_default=True)
def main(row: str, scenario: str, seconds: float, top: int) -> None:
    result, samples = run(GATEWAYS[row], scenario, seconds)
    console = Console(width=None if sys.stdout.isatty() else 120)
    count, what = (result.tokens, "token") if result.tokens else (result.requests, "request")
    each = (result.cpu or 0) * 1e6 / count
    total = max(1, samples["total"])
    console.print(f"{row}, {scenario}: {each:.1f} µs for each {what}, {total} samples")
    console.print(show("lines", samples["lines"], total, each, top))
    console.print(show("functions, with what they call", samples["functions"], total, each, top))


if __name__ == "__main__":
    main()
