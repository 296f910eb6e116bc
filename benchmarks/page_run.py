"""Rounds of the page's benchmark: a fresh `h2o run` each, first with one person, then with many."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .gateways import ROOT, BenchmarkError, clean_environment
from .page_relay import Relay, relay, upstream

if TYPE_CHECKING:
    from .page_paint import Paint

PACE = 0.05
"""Seconds between two tokens of the many: 20 tokens a second."""
AT_ONCE, THINKING = 0.0, 0.5
"""Seconds before the first token of an answer whose painting is measured."""
CALM = 2.0
"""Seconds before the API is measured alone, in which what was before it ends."""
MARGIN = 10.0
"""Seconds that answers last longer than what is measured meanwhile: until all have begun, too."""
PATIENCE = 180.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run; `seconds` is the time for each measurement of the API."""

    rounds: int
    people: int
    answers: int
    """Of each kind whose painting is measured."""
    seconds: float


@dataclass(slots=True)
class Round:
    """What was measured of one `h2o run`; times are seconds."""

    api_start: float
    page_start: float
    browser: str = ""
    """Chromium's version; "" without one."""
    paints: dict[float, list[Paint]] = field(default_factory=dict)
    """By the time that the server thought before its first token."""
    alone: Sequence[dict[str, float]] = ()
    """p50 and p99 of a plain request to the API, and of the same to the server behind it."""
    meanwhile: Sequence[dict[str, float]] = ()
    """The same while the people were answered."""
    people: dict[str, Any] = field(default_factory=dict)
    """`page_people.Result`."""


def no_browser() -> str:
    """Why nothing can be measured in a browser; "" if it can."""
    if find_spec("playwright") is None:
        return "Playwright is not installed: make installs it for the tests"
    from . import page_paint

    return page_paint.absent()


def run(plan: Plan, say: Callable[[str], None]) -> list[Round]:
    """Makes all rounds. Raises BenchmarkError where something does not start or breaks down."""
    browser = not no_browser()
    rounds = []
    with upstream() as server:
        for number in range(plan.rounds):
            say(f"round {number + 1} of {plan.rounds}: h2o run starts")
            with relay(server) as running:
                found = Round(running.api_start, running.page_start)
                if browser:
                    say("  one person in a browser")
                    _paint(found, running, plan.answers)
                say("  the API alone")
                time.sleep(CALM)
                found.alone = probe(running.api, server, plan.seconds)
                say(f"  the API beside {plan.people} people")
                _beside(found, running, server, plan)
            rounds.append(found)
    return rounds


def _paint(found: Round, running: Relay, answers: int) -> None:
    from . import page_paint

    painting = page_paint.paints(running.page, [THINKING, AT_ONCE], answers)
    found.browser, found.paints = asyncio.run(painting)


def _beside(found: Round, running: Relay, server: str, plan: Plan) -> None:
    tokens = round((plan.seconds + MARGIN) / PACE)
    with talking(running.page, plan.people, tokens) as process:
        found.meanwhile = probe(running.api, server, plan.seconds)
        over = time.monotonic()
        output, _ = process.communicate(timeout=PATIENCE)
    found.people = json.loads(output)
    if not found.people["failures"] and found.people["end"] < over:
        raise BenchmarkError(
            "the first answer ended before the API had been measured: too much else is going on"
        )


def probe(api: str, server: str, seconds: float) -> list[dict[str, float]]:
    """Latencies of both, measured by a process of its own."""
    arguments = ["--url", api, "--url", server, "--seconds", str(seconds)]
    command = [sys.executable, "-m", "benchmarks.page_probe", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True)
    if done.returncode:
        raise BenchmarkError(f"the API's measurement failed:\n{done.stderr.decode()}")
    latencies: list[dict[str, float]] = json.loads(done.stdout)
    return latencies


@contextmanager
def talking(page: str, people: int, tokens: int) -> Iterator[subprocess.Popen[bytes]]:
    """The people, from the moment in which all are being answered; their output has the result.

    Raises BenchmarkError, with what they said, if they fail; kills them if they are left early.
    """
    arguments = ["--url", page, "--people", str(people), "--tokens", str(tokens)]
    command = [sys.executable, "-m", "benchmarks.page_people", *arguments, "--pace", str(PACE)]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        try:
            assert process.stdout is not None
            if process.stdout.readline():
                yield process
        except subprocess.TimeoutExpired:
            raise BenchmarkError("the people did not come to an end") from None
        finally:
            if process.poll() is None:
                process.kill()
        if process.wait():
            errors.seek(0)
            raise BenchmarkError(f"the people failed:\n{errors.read().decode(errors='replace')}")
