"""The results beside other gateways for people: tables, and the generated part of docs/."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from . import beside_goals as goals
from . import report
from .beside_plot import draw
from .beside_run import HOLD, Found
from .beside_summary import SECTIONS, Figure, Section, Summary, remarks
from .gateways import ROOT
from .hold import STALL
from .load import SCENARIOS
from .our_rows import ROWS

BEGIN = "<!-- results beside others: written by python -m benchmarks gateways --write-docs -->"
END = "<!-- end of the results beside others -->"
PLOT = ROOT / "docs" / "images" / "gateways.svg"
GOAL_HEADS = ("figure", "must", "measured", "", "goal", "measured", "")


@dataclass(frozen=True, slots=True)
class About:
    """The circumstances of a run; `streams` is how many were to be held, 0 if none."""

    machine: str
    versions: dict[str, str]
    rounds: int
    date: str
    load: str
    pinned: bool
    seconds: dict[str, float]
    streams: int


Cells = list[list[str]]


def heads(section: Section, summary: Summary) -> list[str]:
    """The first row of a table: figures, each followed by its ratios."""
    cells = ["gateway"]
    for figure in _figures(section, summary):
        cells.append(f"{figure.name}, {figure.unit}" if figure.unit else figure.name)
        cells += [f"/ {other}" for other in figure.against]
    return cells


def cells(section: Section, summary: Summary) -> Cells:
    """A row for each gateway that has any figure here."""
    table = []
    for row in summary.rows:
        line = [row]
        for figure in _figures(section, summary):
            line.append(report.text(summary.value(figure.key, row), figure.digits))
            line += [report.text(summary.ratio(figure.key, row, o), 2) for o in figure.against]
        if any(cell != "-" for cell in line[1:]):
            table.append(line)
    return table


def _figures(section: Section, summary: Summary) -> list[Figure]:
    return [figure for figure in section.figures if summary.shown(figure)]


def goal_cells(summary: Summary) -> Cells:
    """A row for each goal: what must be reached and what should, each beside what was measured."""
    words = {True: "yes", False: "no", None: "-"}
    table = []
    for goal in goals.GOALS:
        line = [goals.title(goal)]
        for bound in (goal.must, goal.goal):
            measured = report.text(goals.measured(summary, goal, bound), 2)
            verdict = words[goals.reached(summary, goal, bound)]
            line += [goals.text(goal, bound), measured, verdict]
        table.append(line)
    return table


def tables(summary: Summary, console: Console) -> None:
    """Prints everything."""
    for section in SECTIONS:
        if any(summary.shown(figure) for figure in section.figures):
            _print(section.title, heads(section, summary), cells(section, summary), console)
    _print("What must be reached", list(GOAL_HEADS), goal_cells(summary), console)


def _print(title: str, first: list[str], rest: Cells, console: Console) -> None:
    view = Table(title=title, title_justify="left")
    for place, head in enumerate(first):
        view.add_column(head, justify="right" if place else "left")
    for line in rest:
        view.add_row(*line)
    console.print(view)


def write(found: Found, summary: Summary, about: About) -> None:
    """Replaces the results in the documentation, and its plot. Raises BenchmarkError if their place
    is gone.
    """
    report.put(BEGIN, END, markdown(found, summary, about))
    PLOT.write_text(draw(summary), "utf-8")


def markdown(found: Found, summary: Summary, about: About) -> str:
    """The results as a section's text."""
    parts = [*_circumstances(about, summary), *notes(found, summary), ""]
    parts += ["![CPU time of a token and of a request, times nginx](images/gateways.svg)", ""]
    for section in SECTIONS:
        parts += [f"### {section.title}", ""]
        parts += _markdown_table(heads(section, summary), cells(section, summary))
    parts += ["### What must be reached", ""]
    parts += _markdown_table(list(GOAL_HEADS), goal_cells(summary))
    return "\n".join(parts)


def _markdown_table(first: list[str], rest: Cells) -> Iterator[str]:
    yield f"| {' | '.join(first)} |"
    yield "| --- |" + " ---: |" * (len(first) - 1)
    yield from (f"| {' | '.join(line)} |" for line in rest)
    yield ""


def _circumstances(about: About, summary: Summary) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in about.versions.items())
    pinned = "Gateways had one core to themselves" if about.pinned else "Nothing was pinned"
    measured = ", ".join(f"{name} {seconds:g} s" for name, seconds in about.seconds.items())
    held = f"- Streams held: of {about.streams} with a token a second, those that never waited "
    held += f"{STALL:g} s for one, during {HOLD:g} s of the first round."
    return [
        f"Measured on {about.date}: medians of {about.rounds} rounds (lowest to highest).",
        "",
        f"- Machine: {about.machine}. {pinned}. Load average before: {about.load}.",
        f"- Versions: {versions}.",
        f"- Measured time of each turn: {measured}.",
        *(f"- `{name}`: {SCENARIOS[name].about}." for name in about.seconds),
        held,
        *(f"- Row `{row}`: {ROWS[row].about}." for row in summary.rows),
    ]


def notes(found: Found, summary: Summary) -> list[str]:
    """What a reader must know: rows left out, where the load may be the limit, what was late."""
    lines = [f"- Left out: {name}: {_line(why)}." for name, why in found.skipped.items()]
    near = summary.limited()
    if near:
        lines.append(f"- The load itself may be the limit of: {'; '.join(near)}.")
    return [*lines, *(f"- Not in time, or refused: {_line(one)}." for one in remarks(found.turns))]


def _line(text: str) -> str:
    """A reason may be the output of a process."""
    return text.strip().splitlines()[-1][:200] if text.strip() else "no reason was given"
