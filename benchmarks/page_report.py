"""The page's figures: what is read from the rounds, its limits, the table and the documentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from . import machine, report
from .page_run import AT_ONCE, PACE, THINKING, Plan, Round
from .summary import Spread

BEGIN = "<!-- page results: written by python -m benchmarks page --write-docs -->"
END = "<!-- end of the page results -->"
API, SERVER = 0, 1
"""Places in a round's latencies."""
Reading = Callable[[Round], float | None]


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the results. `option` is the limit that makes the command fail."""

    name: str
    unit: str
    read: Reading
    digits: int = 0
    option: str = ""
    help: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A figure, and its values in all rounds; None if no round has one."""

    figure: Figure
    value: Spread | None


def _painted(think: float, what: str, choose: Callable[[list[float]], float]) -> Reading:
    """Milliseconds of one round's answers."""

    def read(found: Round) -> float | None:
        answers = found.paints.get(think)
        return choose([getattr(one, what) * 1e3 for one in answers]) if answers else None

    return read


def _gap(name: str) -> Reading:
    """Milliseconds of the median person."""

    def read(found: Round) -> float | None:
        seconds = found.people.get("gap", {}).get(name)
        return None if seconds is None else seconds * 1e3

    return read


def _worst(found: Round) -> float | None:
    return (found.people.get("worst") or 0) * 1e3 or None


def _latency(when: str, place: int, name: str) -> Reading:
    """Microseconds."""

    def read(found: Round) -> float | None:
        latencies = getattr(found, when)
        return latencies[place][name] * 1e6 if latencies else None

    return read


def _ratio(place: int, name: str) -> Reading:
    def read(found: Round) -> float | None:
        if not found.alone or not found.meanwhile:
            return None
        return found.meanwhile[place][name] / found.alone[place][name]

    return read


def _paint_figures(who: str, think: float, option: str) -> tuple[Figure, ...]:
    return (
        Figure(f"first text in the document, {who}", "ms", _painted(think, "dom", median)),
        Figure(f"its frame begun, {who}", "ms", _painted(think, "frame", median)),
        Figure(f"its frame drawn, {who}", "ms", _painted(think, "paint", median), option=option,
               help=f"ms from the first token to its frame drawn, {who}."),
        Figure(f"its frame drawn, slowest, {who}", "ms", _painted(think, "paint", max)),
    )  # fmt: skip


FIGURES = (
    Figure("start to the API's first completion", "s", lambda found: found.api_start, 2,
           "max_api_start", "seconds to the API's first completion."),
    Figure("start to the page's first answer", "s", lambda found: found.page_start, 2,
           "max_page_start", "seconds to the page's first answer."),
    *_paint_figures("thinks", THINKING, "max_first_paint"),
    *_paint_figures("at once", AT_ONCE, "max_instant_paint"),
    Figure("gap between updates p50", "ms", _gap("p50")),
    Figure("gap between updates p99", "ms", _gap("p99"), 0,
           "max_gap", "ms between updates, p99 of the median person."),
    Figure("longest gap that anybody saw", "ms", _worst, 0,
           "max_worst_gap", "ms between updates, the longest."),
    Figure("API request alone p50", "µs", _latency("alone", API, "p50")),
    Figure("API request alone p99", "µs", _latency("alone", API, "p99")),
    Figure("API request meanwhile p50", "µs", _latency("meanwhile", API, "p50")),
    Figure("API request meanwhile p99", "µs", _latency("meanwhile", API, "p99")),
    Figure("API meanwhile / alone p50", "", _ratio(API, "p50"), 2,
           "max_api_ratio", "the API's p50 beside the people, to that alone."),
    Figure("API meanwhile / alone p99", "", _ratio(API, "p99"), 2,
           "max_api_p99_ratio", "the same of p99."),
    Figure("no relay, meanwhile / alone p50", "", _ratio(SERVER, "p50"), 2),
    Figure("no relay, meanwhile / alone p99", "", _ratio(SERVER, "p99"), 2),
)  # fmt: skip
GUARDED = tuple(figure for figure in FIGURES if figure.option)


def lines(rounds: Sequence[Round]) -> list[Line]:
    return [Line(one, Spread.of([one.read(found) for found in rounds])) for one in FIGURES]


def failures(rounds: Sequence[Round]) -> list[str]:
    """What was wrong with the people's answers."""
    return [
        f"round {number}: {what} ({count})"
        for number, found in enumerate(rounds, 1)
        for what, count in found.people.get("failures", {}).items()
    ]


def beyond(found: Sequence[Line], limits: Mapping[str, float | None]) -> list[str]:
    """The figures whose median is above its limit, or that have one and were not measured."""
    complaints = []
    for line in found:
        limit = limits.get(line.figure.option)
        if limit is None:
            continue
        if line.value is None:
            complaints.append(f"{line.figure.name} was not measured")
        elif line.value.median > limit:
            value = report.text(line.value, line.figure.digits)
            complaints.append(f"{_name(line)}: {value}, limit {limit:g}")
    return complaints


def table(found: Sequence[Line], plan: Plan, console: Console) -> None:
    view = Table(title=f"The page, and {plan.people} people on it", title_justify="left")
    view.add_column("figure")
    view.add_column("h2o run", justify="right")
    for line in found:
        view.add_row(_name(line), report.text(line.value, line.figure.digits))
    console.print(view)


def write(found: Sequence[Line], rounds: Sequence[Round], plan: Plan, date: str, load: str) -> None:
    """Replaces the page's results in the documentation; raises BenchmarkError if their place is
    gone. `load` is how busy the machine was before.
    """
    report.put(BEGIN, END, markdown(found, rounds, plan, date, load))


def markdown(
    found: Sequence[Line], rounds: Sequence[Round], plan: Plan, date: str, load: str
) -> str:
    """The results as a section's text."""
    versions = {**machine.versions(), "gradio": metadata.version("gradio")}
    versions |= {"Chromium": rounds[0].browser}
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    each = f"{plan.seconds:g} s"
    parts = [
        f"Measured on {date}: medians of {plan.rounds} rounds (lowest to highest).",
        "These are all the figures that are claimed of the page; there are no others.",
        "",
        f"- Machine: {machine.machine()}. Nothing was pinned. Load average before: {load}.",
        f"- Versions: {named}.",
        f"- Painting: {plan.answers} answers of each kind in a round.",
        f"- `thinks`: the server writes its first token {THINKING * 1e3:g} ms after the question.",
        "- `at once`: it writes its first token when the question comes.",
        f"- Gaps: {plan.people} people, one token every {PACE * 1e3:g} ms for each.",
        f"- API requests: plain completions, {each} alone and {each} beside the people.",
        "- `no relay`: the same requests to the scripted server itself.",
        "",
        "| figure | h2o run |",
        "| --- | ---: |",
    ]
    parts += [f"| {_name(one)} | {report.text(one.value, one.figure.digits)} |" for one in found]
    return "\n".join(parts) + "\n"


def plain(found: Sequence[Line]) -> list[dict[str, Any]]:
    """For JSON."""
    return [
        {"figure": line.figure.name, "unit": line.figure.unit, "value": line.value}
        for line in found
    ]


def _name(line: Line) -> str:
    return f"{line.figure.name}, {line.figure.unit}" if line.figure.unit else line.figure.name
