"""Turns and rounds: every row in each round, in rotated order, each in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from . import cpu
from .gateways import ROOT, BenchmarkError, Gateway, Running, clean_environment, gateway, memory, on
from .gateways import upstream as scripted_upstream
from .load import PATIENCE, SCENARIOS, Result

SECONDS = {"p100": 6.0, "ns64": 4.0, "ns1": 2.0, "st16": 3.0, "p1000": 7.5}
QUICK = {"p100": 2.0, "ns64": 1.5, "ns1": 0.5, "st16": 1.0, "p1000": 2.5}
DEFAULT = ("p100", "ns64", "ns1")


@dataclass(slots=True)
class Turn:
    """One row's measurements in one round."""

    gateway: str
    round: int
    cold: float | None = None
    idle: float | None = None
    """MiB before the load."""
    peak: float | None = None
    results: dict[str, Result] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run; `seconds` by scenario."""

    gateways: Sequence[Gateway]
    rounds: int
    seconds: dict[str, float]


def run(plan: Plan, say: Callable[[str], None]) -> list[Turn]:
    """Makes all turns; raises BenchmarkError if a process does not start or breaks down."""
    pinned = cpu.cores()
    core, others = pinned or (None, None)
    turns: list[Turn] = []
    with scripted_upstream(others) as url:
        for number in range(plan.rounds):
            shift = number % len(plan.gateways)
            for row in [*plan.gateways[shift:], *plan.gateways[:shift]]:
                say(f"round {number + 1} of {plan.rounds}: {row.name}")
                with gateway(row, url, core) as running:
                    turns.append(_turn(row, number, running, plan.seconds, core, others))
    return turns


def _turn(
    row: Gateway, number: int, running: Running, seconds: dict[str, float],
    core: int | None, others: set[int] | None,
) -> Turn:  # fmt: skip
    turn = Turn(row.name, number, running.cold)
    if (before := memory(running)) is not None:
        turn.idle = before.now
    for scenario, duration in seconds.items():
        turn.results[scenario] = load(scenario, duration, running, core, others)
    if (after := memory(running)) is not None:
        turn.peak = after.peak
    return turn


def load(
    scenario: str, seconds: float, running: Running, core: int | None, others: set[int] | None,
    patience: float = PATIENCE,
) -> Result:  # fmt: skip
    """One scenario against a running relay, in a process of its own."""
    arguments = ["benchmarks.load", "--scenario", scenario, "--seconds", str(seconds)]
    arguments += ["--patience", str(patience)]
    if running.pid is not None and core is not None and cpu.supported():
        arguments += ["--core", str(core)]
    output = measuring(arguments, running, others, 2 * PATIENCE + 4 * seconds)
    return Result(**json.loads(output))


def measuring(
    arguments: list[str], running: Running, others: set[int] | None, limit: float
) -> bytes:
    """What a module of ours, the first of the arguments, measures at a running relay. Raises
    BenchmarkError if it fails or takes longer than `limit` seconds.
    """
    command = [sys.executable, "-m", *arguments, "--url", running.url, "--key", running.key]
    if running.pid is not None and cpu.supported():
        command += ["--pid", str(running.pid)]
    with on(others):
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=clean_environment(),
        )  # fmt: skip
    what = " ".join(arguments[:3])
    with process:
        try:
            output, errors = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            raise BenchmarkError(f"{what} did not end") from None
    if process.returncode:
        raise BenchmarkError(f"{what} failed:\n{errors.decode(errors='replace')}")
    return output


def scenarios(names: Sequence[str], quick: bool) -> dict[str, float]:
    """How long each scenario is measured; raises BenchmarkError for one that does not exist."""
    for name in names:
        if name not in SCENARIOS:
            known = ", ".join(SCENARIOS)
            raise BenchmarkError(f"no scenario {name!r}; there are {known}")
    table = QUICK if quick else SECONDS
    return {name: table[name] for name in names}
