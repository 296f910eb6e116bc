"""What a hop must cost at most, and what we are after: as ratios within one run, where a machine's
speed says nothing, and with keys, limits, prices, usage and metrics on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .beside_run import STREAMS
from .beside_summary import FIGURES, NGINX, Summary
from .summary import Spread

ROW, TRANSLATING, RUST = "h2o-keys", "h2o-ollama", "vllm-router"


@dataclass(frozen=True, slots=True)
class Bound:
    """A limit of a figure, or of its ratio to another row's."""

    limit: float
    against: str = ""


@dataclass(frozen=True, slots=True)
class Goal:
    """What the median of one figure must reach, and should; at least that if `least`."""

    key: str
    must: Bound
    goal: Bound
    row: str = ROW
    least: bool = False


GOALS = (
    Goal("token", Bound(1.7, NGINX), Bound(1.1, NGINX)),
    Goal("token", Bound(2.2, NGINX), Bound(1.7, NGINX), TRANSLATING),
    Goal("request", Bound(3.4, NGINX), Bound(2.0, NGINX)),
    Goal("latency", Bound(2.0, NGINX), Bound(1.3, NGINX)),
    Goal("first", Bound(1000), Bound(1.0, RUST)),
    Goal("done", Bound(100), Bound(100), least=True),
    Goal("paced", Bound(0.95, NGINX), Bound(0.99, NGINX), least=True),
    Goal("held", Bound(STREAMS), Bound(STREAMS), least=True),
    Goal("unpaced", Bound(1.0, RUST), Bound(1.0, NGINX), least=True),
    Goal("cold", Bound(1.5), Bound(0.8)),
    Goal("idle", Bound(80), Bound(60)),
    Goal("peak", Bound(130), Bound(90)),
)


def measured(summary: Summary, goal: Goal, bound: Bound) -> Spread | None:
    """The value that is held against a bound."""
    if bound.against:
        return summary.ratio(goal.key, goal.row, bound.against)
    return summary.value(goal.key, goal.row)


def reached(summary: Summary, goal: Goal, bound: Bound) -> bool | None:
    """None where it was not measured."""
    found = measured(summary, goal, bound)
    if found is None:
        return None
    return found.median >= bound.limit if goal.least else found.median <= bound.limit


def missed(summary: Summary) -> Iterator[str]:
    """The figures that are not what they must be, or that were not measured."""
    for goal in GOALS:
        found = measured(summary, goal, goal.must)
        if found is None:
            yield f"{title(goal)} was not measured"
        elif not reached(summary, goal, goal.must):
            yield f"{title(goal)}: {found.median:.2f}, and must be {text(goal, goal.must)}"


def title(goal: Goal) -> str:
    return f"{FIGURES[goal.key].name}, {goal.row}"


def text(goal: Goal, bound: Bound) -> str:
    """A bound in words: `≤ 1.7 times nginx`, `≤ 80 MiB`."""
    sign = "≥" if goal.least else "≤"
    what = f"times {bound.against}" if bound.against else FIGURES[goal.key].unit
    return f"{sign} {bound.limit:g} {what}".rstrip()
