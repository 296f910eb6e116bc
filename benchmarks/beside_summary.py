"""What is read from the turns of `python -m benchmarks gateways`: figures, ratios, failures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .beside_run import BesideTurn, Found, ours
from .client import CLOSED, LOST
from .load import LATE
from .run import Turn
from .summary import DIRECT, REFERENCE, Reading, Spread, added, cpu_per, noise, rate

NGINX = "nginx"
NEAR = 0.85
"""Of the rate without a gateway: from here on it may be the load that a row waits for."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One column: `read` takes a turn and the direct turn of its round. `against` names the rows to
    which ratios are shown.
    """

    key: str
    name: str
    unit: str
    read: Reading
    digits: int = 0
    against: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """One table."""

    title: str
    figures: tuple[Figure, ...]


def _kilo(reading: Reading) -> Reading:
    def read(turn: Turn, direct: Turn | None) -> float | None:
        value = reading(turn, direct)
        return None if value is None else value / 1000

    return read


def _done(scenario: str) -> Reading:
    def read(turn: Turn, direct: Turn | None) -> float | None:
        result = turn.results.get(scenario)
        return None if result is None else result.done * 100

    return read


def _of_turn(read: Callable[[BesideTurn], float | None]) -> Reading:
    return lambda turn, direct: read(turn) if isinstance(turn, BesideTurn) else None


def _held(turn: BesideTurn) -> float | None:
    return None if turn.held is None else turn.held.held


def _each(turn: BesideTurn) -> float | None:
    """KiB for each stream; None where few had begun, while the others took memory, too."""
    held = turn.held
    if held is None or held.memory is None or turn.before is None:
        return None
    if held.begun * 2 < max(1, held.streams):
        return None
    return (held.memory - turn.before) * 1024 / held.begun


BOTH = (NGINX, REFERENCE)
SECTIONS = (
    Section("CPU time of all its processes", (
        Figure("token", "CPU of a token, p100", "µs", cpu_per("p100", "tokens"), 1, BOTH),
        Figure("request", "CPU of a request, ns64", "µs", cpu_per("ns64", "requests"), 1, BOTH),
    )),
    Section("Speed", (
        Figure("requests", "requests/s, ns64", "", rate("ns64", "requests")),
        Figure("unpaced", "tokens/s, st16", "1000", _kilo(rate("st16", "tokens")), 1),
        Figure("latency", "added p50, ns1", "µs", added("ns1", "latency", "p50"), 0, (NGINX,)),
        Figure("latency99", "added p99, ns1", "µs", added("ns1", "latency", "p99")),
        Figure("first", "added first token p50, p100", "µs", added("p100", "first_token", "p50")),
        Figure("first99", "added first token p99, p100", "µs",
               added("p100", "first_token", "p99")),
    )),
    Section("Many streams, memory, start", (
        Figure("paced", "tokens/s, p1000", "1000", _kilo(rate("p1000", "tokens")), 1),
        Figure("done", "answers in time, p1000", "%", _done("p1000")),
        Figure("held", "streams held", "", _of_turn(_held)),
        Figure("each", "memory of a stream", "KiB", _of_turn(_each)),
        Figure("idle", "memory before", "MiB", lambda turn, direct: turn.idle),
        Figure("peak", "memory at its peak", "MiB", lambda turn, direct: turn.peak),
        Figure("cold", "start to first answer", "s", lambda turn, direct: turn.cold, 2),
        Figure("noise", "others on its core", "%", noise),
    )),
)  # fmt: skip
FIGURES = {figure.key: figure for section in SECTIONS for figure in section.figures}


class Summary:
    """The figures of a run: medians over the rounds, ratios taken within each round."""

    def __init__(self, turns: Iterable[Turn]) -> None:
        self.by_round = {(turn.gateway, turn.round): turn for turn in turns}
        self.rows = list(dict.fromkeys(name for name, _ in self.by_round))
        self.rounds = sorted({number for _, number in self.by_round})

    def read(self, figure: Figure, row: str) -> list[float | None]:
        """One value for each round."""
        values: list[float | None] = []
        for number in self.rounds:
            turn = self.by_round.get((row, number))
            direct = self.by_round.get((DIRECT, number))
            values.append(None if turn is None else figure.read(turn, direct))
        return values

    def value(self, key: str, row: str) -> Spread | None:
        return Spread.of(self.read(FIGURES[key], row))

    def ratio(self, key: str, row: str, other: str) -> Spread | None:
        """None where no round has both; a difference that is not above 0 has no ratio."""
        pairs = zip(self.read(FIGURES[key], row), self.read(FIGURES[key], other), strict=True)
        return Spread.of([
            here / there if here is not None and there is not None and there > 0 else None
            for here, there in pairs
        ])  # fmt: skip

    def shown(self, figure: Figure) -> bool:
        """Whether any row has a value."""
        return any(self.value(figure.key, row) for row in self.rows)

    def limited(self) -> list[str]:
        """The rows that come so near to the load's own rates that these may be their limit."""
        found = []
        for key in ("requests", "unpaced"):
            for row in self.rows:
                ratio = None if row in (DIRECT, "load-limit") else self.ratio(key, row, DIRECT)
                if ratio is not None and ratio.median >= NEAR:
                    found.append(f"{row}, {FIGURES[key].name}: {ratio.median:.2f} of {DIRECT}")
        return found


def remarks(turns: Sequence[BesideTurn]) -> list[str]:
    """All that was not answered right and in time, by row, round and scenario."""
    found = []
    for turn in turns:
        where = f"{turn.gateway}, round {turn.round + 1}"
        for name, result in turn.results.items():
            found += [f"{where}, {name}: {what} ({n})" for what, n in result.failures.items()]
        if turn.held is not None and turn.held.held < turn.held.streams:
            lost = turn.held.streams - turn.held.held
            found.append(f"{where}, held: {lost} of {turn.held.streams} streams stalled or ended")
    return found


def failures(found: Found) -> list[str]:
    """What makes the command fail: answers that are wrong. Those that are late are a figure, and so
    are those that a gateway of others refuses under load.
    """
    complaints = []
    for turn in found.turns:
        for name, result in turn.results.items():
            where = f"{turn.gateway}, round {turn.round + 1}, {name}"
            wrong = {what: n for what, n in result.failures.items() if _wrong(turn.gateway, what)}
            complaints += [f"{where}: {what} ({count})" for what, count in wrong.items()]
        if turn.held is not None and turn.held.wrong:
            complaints.append(f"{turn.gateway}, held: {LOST} ({turn.held.wrong})")
    return complaints


def _wrong(row: str, what: str) -> bool:
    refused = what == CLOSED or what.startswith("status ")
    return what != LATE and (ours(row) or not refused)
