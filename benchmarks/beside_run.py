"""Turns of `python -m benchmarks gateways`: every row in each round, in rotated order."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from . import cpu, peer_rows
from .gateways import BenchmarkError, Gateway, Running, gateway, memory
from .gateways import upstream as scripted_upstream
from .hold import Held
from .load import SCENARIOS
from .our_rows import OURS
from .run import Turn, load, measuring

SECONDS = {"ns1": 1.2, "ns64": 2.0, "p100": 3.0, "st16": 1.5, "p1000": 2.5}
QUICK = {"ns1": 0.5, "ns64": 0.7, "p100": 1.5}
ROUNDS = {"p1000": 2}
"""How often what takes long is measured at most; below for rows whose spread says nothing."""
ROUNDS_OF = {
    ("direct", "p1000"): 1, ("load-limit", "p1000"): 1, ("litellm", "p1000"): 1,
    ("litellm", "st16"): 1,
}  # fmt: skip
STREAMS = 5000
HOLD = 4.0
SPARE_FILES = 500
Say = Callable[[str], None]


@dataclass(slots=True)
class BesideTurn(Turn):
    """One row's measurements in one round; the streams are held in the first round only."""

    held: Held | None = None
    before: float | None = None
    """MiB before the streams that were held."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run: `seconds` by scenario; `streams` is 0 where none are held."""

    rows: Sequence[Gateway]
    rounds: int
    seconds: dict[str, float]
    streams: int


@dataclass(slots=True)
class Found:
    """All turns, and by name the rows that could not be measured, with the reason."""

    turns: list[BesideTurn] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def room_for(streams: int) -> int:
    """So many streams as there may be open files: a gateway has two connections for each. Also lets
    processes that are started from here have as many as they may.
    """
    needed = 2 * streams + SPARE_FILES
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = needed if most == resource.RLIM_INFINITY else min(needed, most)
    if now != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, allowed), most))
    return max(0, min(streams, (allowed - SPARE_FILES) // 2))


def run(plan: Plan, say: Say) -> Found:
    """Installs what is missing and makes all turns. Raises BenchmarkError if a row of ours does not
    start or breaks down; one of the others is left out from then on.
    """
    found = Found()
    for row in plan.rows:
        if (reason := peer_rows.unavailable(row, say)) is not None:
            _skip(found, row, reason, say)
    core, others = cpu.cores() or (None, None)
    with scripted_upstream(others) as url:
        for number in range(plan.rounds):
            shift = number % len(plan.rows)
            for row in [*plan.rows[shift:], *plan.rows[:shift]]:
                if row.name in found.skipped:
                    continue
                say(f"round {number + 1} of {plan.rounds}: {row.name}")
                try:
                    found.turns.append(_turn(row, number, plan, url, core, others))
                except BenchmarkError as exc:
                    if row not in peer_rows.PEERS:
                        raise
                    _skip(found, row, str(exc), say)
    return found


def _skip(found: Found, row: Gateway, reason: str, say: Say) -> None:
    found.skipped[row.name] = reason
    say(f"left out: {reason}")


def _turn(
    row: Gateway, number: int, plan: Plan, url: str, core: int | None, others: set[int] | None
) -> BesideTurn:
    turn = BesideTurn(row.name, number)
    with gateway(row, url, core) as running:
        turn.cold = running.cold
        turn.idle = _now(running)
        for scenario, seconds in plan.seconds.items():
            if number >= rounds_of(row.name, scenario, plan.rounds):
                continue
            turn.results[scenario] = load(
                scenario, seconds, running, core, others, _patience(scenario)
            )
        if (after := memory(running)) is not None:
            turn.peak = after.peak
    if plan.streams and not number:
        # In a fresh process, whose memory does not yet hold what came before.
        with gateway(row, url, core) as running:
            turn.before = _now(running)
            turn.held = hold(running, plan.streams, others)
    return turn


def rounds_of(row: str, scenario: str, rounds: int) -> int:
    return min(rounds, ROUNDS_OF.get((row, scenario), ROUNDS.get(scenario, rounds)))


def _patience(scenario: str) -> float:
    """Seconds for what runs at the end: as long as a stream takes, and a little."""
    wanted = SCENARIOS[scenario]
    return wanted.tokens * wanted.pace + 3.0


def _now(running: Running) -> float | None:
    found = memory(running)
    return None if found is None else found.now


def hold(running: Running, streams: int, others: set[int] | None) -> Held:
    """Holds streams through a running gateway, from a process of its own."""
    arguments = ["benchmarks.hold", "--streams", str(streams), "--seconds", str(HOLD)]
    return Held(**json.loads(measuring(arguments, running, others, 60 + HOLD)))


def ours(name: str) -> bool:
    """Whether wrong answers of a row are for us to mend: the benchmark's own rows, too."""
    return name in {row.name for row in OURS} | {"direct", "load-limit", "reference"}
