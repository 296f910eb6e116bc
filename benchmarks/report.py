"""The results for people: a table on the terminal, and the generated part of the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from .gateways import GATEWAYS, ROOT, BenchmarkError
from .load import SCENARIOS
from .summary import MEASURED, REFERENCE, Line, Spread

DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN = "<!-- results: written by python -m benchmarks --write-docs -->"
END = "<!-- end of the results -->"


@dataclass(frozen=True, slots=True)
class About:
    """The circumstances of a run."""

    machine: str
    versions: dict[str, str]
    rounds: int
    date: str
    load: str
    pinned: bool
    seconds: dict[str, float]


def table(found: Sequence[Line], console: Console) -> None:
    """Prints all lines; a range follows where there were several rounds."""
    rows = list(found[0].values) if found else []
    view = Table(title="What a hop costs", title_justify="left")
    view.add_column("figure")
    for row in rows:
        view.add_column(row, justify="right")
    view.add_column(f"{MEASURED} / {REFERENCE}", justify="right")
    for line in found:
        view.add_row(_name(line), *(_value(line, row) for row in rows), _ratio(line.ratio))
    console.print(view)


def write(found: Sequence[Line], about: About) -> None:
    """Replaces the results in the documentation; raises BenchmarkError if their place is gone."""
    put(BEGIN, END, markdown(found, about))


def put(first: str, last: str, section: str) -> None:
    """Replaces what is between two lines of the documentation; raises BenchmarkError if it has
    them not.
    """
    whole = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else ""
    before, begin, rest = whole.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise BenchmarkError(f"{DOCUMENT.name} has no place for results: {first} … {last}")
    DOCUMENT.write_text(f"{before}{first}\n\n{section}\n{last}{after}", "utf-8")


def markdown(found: Sequence[Line], about: About) -> str:
    """The results as a section's text."""
    rows = list(found[0].values) if found else []
    parts = [*_circumstances(about, rows), ""]
    parts.append(f"| figure | {' | '.join(rows)} | {MEASURED} / {REFERENCE} |")
    parts.append("| --- |" + " ---: |" * (len(rows) + 1))
    for line in found:
        cells = [_name(line), *(_value(line, row) for row in rows), _ratio(line.ratio)]
        parts.append(f"| {' | '.join(cells)} |")
    return "\n".join(parts) + "\n"


def _circumstances(about: About, rows: Sequence[str]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in about.versions.items())
    pinned = "The relay had one core to itself" if about.pinned else "Nothing was pinned to a core"
    measured = ", ".join(f"{name} {seconds:g} s" for name, seconds in about.seconds.items())
    return [
        f"Measured on {about.date}: medians of {about.rounds} rounds (lowest to highest).",
        "These are all the figures that are claimed of a hop; there are no others.",
        "",
        f"- Machine: {about.machine}. {pinned}. Load average before: {about.load}.",
        f"- Versions: {versions}.",
        f"- Measured time of each turn: {measured}.",
        *(f"- `{name}`: {SCENARIOS[name].about}." for name in about.seconds),
        *(f"- Row `{row}`: {GATEWAYS[row].about}." for row in rows),
    ]


def _name(line: Line) -> str:
    return f"{line.metric.name}, {line.metric.unit}" if line.metric.unit else line.metric.name


def _value(line: Line, row: str) -> str:
    return text(line.values[row], line.metric.digits)


def _ratio(spread: Spread | None) -> str:
    return text(spread, 2)


def text(spread: Spread | None, digits: int) -> str:
    """A median, with its range where there is one; "-" where nothing was measured."""
    if spread is None:
        return "-"
    middle, low, high = (f"{x:,.{digits}f}" for x in (spread.median, spread.low, spread.high))
    return middle if low == high else f"{middle} ({low} to {high})"
