"""From turns to figures: medians over the rounds, spread, and ratios within each round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .run import Turn

REFERENCE, MEASURED, DIRECT = "reference", "h2o", "direct"
Reading = Callable[[Turn, Turn | None], float | None]


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of the results; `read` takes a turn and the direct turn of the same round."""

    name: str
    unit: str
    read: Reading
    digits: int = 0
    guard: str | None = None
    """Which limit of the guard applies, `token` or `request`."""
    compare: bool = True
    """False where a ratio would mean nothing: differences that may be close to zero."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several rounds, and their ends."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Spread | None:
        """None if no round has a value."""
        there = [value for value in values if value is not None]
        return cls(median(there), min(there), max(there)) if there else None


@dataclass(frozen=True, slots=True)
class Line:
    """A metric for every row, and h2o relay's ratio to the reference, taken round by round."""

    metric: Metric
    values: dict[str, Spread | None]
    ratio: Spread | None


def cpu_per(scenario: str, per: str) -> Reading:
    """Microseconds of the gateway's CPU time for one of `requests` or `tokens`."""

    def read(turn: Turn, direct: Turn | None) -> float | None:
        result = turn.results.get(scenario)
        if result is None or result.cpu is None:
            return None
        count = getattr(result, per)
        return result.cpu * 1e6 / count if count else None

    return read


def rate(scenario: str, per: str) -> Reading:
    """Requests or tokens in a second."""

    def read(turn: Turn, direct: Turn | None) -> float | None:
        result = turn.results.get(scenario)
        return None if result is None else getattr(result, per) / result.seconds

    return read


def added(scenario: str, what: str, quantile: str) -> Reading:
    """Microseconds more than without a relay in the same round."""

    def read(turn: Turn, direct: Turn | None) -> float | None:
        if direct is None or turn is direct or scenario not in turn.results:
            return None
        here = getattr(turn.results[scenario], what).get(quantile)
        there = getattr(direct.results[scenario], what).get(quantile)
        return None if here is None or there is None else (here - there) * 1e6

    return read


def noise(turn: Turn, direct: Turn | None) -> float | None:
    """Per cent of the gateway's core that others took, where it was most."""
    shares = [r.noise for r in turn.results.values() if r.noise is not None]
    return max(shares) * 100 if shares else None


METRICS = (
    Metric("CPU per token, p100", "µs", cpu_per("p100", "tokens"), 1, guard="token"),
    Metric("CPU per request, ns64", "µs", cpu_per("ns64", "requests"), 1, guard="request"),
    Metric("CPU per request, ns1", "µs", cpu_per("ns1", "requests"), 1),
    Metric("CPU per token, st16", "µs", cpu_per("st16", "tokens"), 1),
    Metric("CPU per token, p1000", "µs", cpu_per("p1000", "tokens"), 1),
    Metric("requests per second, ns64", "", rate("ns64", "requests")),
    Metric("tokens per second, st16", "", rate("st16", "tokens")),
    Metric("tokens per second, p1000", "", rate("p1000", "tokens")),
    Metric("added latency p50, ns1", "µs", added("ns1", "latency", "p50")),
    Metric("added latency p99, ns1", "µs", added("ns1", "latency", "p99"), compare=False),
    Metric("added first token p50, p100", "µs", added("p100", "first_token", "p50"), compare=False),
    Metric("added first token p99, p100", "µs", added("p100", "first_token", "p99"), compare=False),
    Metric(
        "added delay of a token p50, p100", "µs", added("p100", "transit", "p50"), compare=False
    ),
    Metric(
        "added delay of a token p99, p100", "µs", added("p100", "transit", "p99"), compare=False
    ),
    Metric("start to first completion", "s", lambda turn, direct: turn.cold, 2),
    Metric("memory before the load", "MiB", lambda turn, direct: turn.idle),
    Metric("memory at its peak", "MiB", lambda turn, direct: turn.peak),
    Metric("others on the relay's core", "%", noise, compare=False),
)


def lines(turns: Sequence[Turn]) -> list[Line]:
    """All metrics that have a value in some row."""
    by_round = {(turn.gateway, turn.round): turn for turn in turns}
    rounds = sorted({turn.round for turn in turns})
    rows = list(dict.fromkeys(turn.gateway for turn in turns))
    found = []
    for metric in METRICS:
        read: dict[str, list[float | None]] = {row: [] for row in rows}
        for number in rounds:
            direct = by_round.get((DIRECT, number))
            for row in rows:
                turn = by_round.get((row, number))
                read[row].append(None if turn is None else metric.read(turn, direct))
        values = {row: Spread.of(read[row]) for row in rows}
        if any(values.values()):
            found.append(Line(metric, values, _ratio(read) if metric.compare else None))
    return found


def _ratio(read: dict[str, list[float | None]]) -> Spread | None:
    pairs = zip(read.get(MEASURED, ()), read.get(REFERENCE, ()), strict=False)
    return Spread.of([here / there if here and there else None for here, there in pairs])


def failures(turns: Sequence[Turn]) -> list[str]:
    """Every kind of failure, with its row and scenario."""
    return [
        f"{turn.gateway}, round {turn.round + 1}, {name}: {what} ({count})"
        for turn in turns
        for name, result in turn.results.items()
        for what, count in result.failures.items()
    ]


def beyond(found: Sequence[Line], limits: dict[str, float]) -> list[str]:
    """The guarded ratios that are above their limit, or that are missing and so show nothing."""
    complaints = []
    for line in found:
        if line.metric.guard is None:
            continue
        limit = limits[line.metric.guard]
        if line.ratio is None:
            complaints.append(f"{line.metric.name}: no ratio was measured")
        elif line.ratio.median > limit:
            complaints.append(f"{line.metric.name}: {line.ratio.median:.2f} times, limit {limit:g}")
    guarded = {line.metric.guard for line in found}
    complaints += [f"CPU per {kind} was not measured" for kind in limits if kind not in guarded]
    return complaints


def plain(found: Sequence[Line]) -> list[dict[str, Any]]:
    """For JSON."""

    def spread(value: Spread | None) -> dict[str, float] | None:
        if value is None:
            return None
        return {"median": value.median, "low": value.low, "high": value.high}

    return [
        {
            "metric": line.metric.name,
            "unit": line.metric.unit,
            "rows": {row: spread(value) for row, value in line.values.items()},
            "ratio": spread(line.ratio),
        }
        for line in found
    ]
