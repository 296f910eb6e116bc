"""Many people who chat at once through the page, and the gaps that they see, as JSON.

Each is a session of Gradio's own protocol with a connection, a cookie jar and a conversation of its
own. It takes the changes that the page sends and puts them together, as the page's script does;
what a browser needs to draw them is not in here.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from statistics import median

import click
import httpx
import uvloop
from tests.ui.browser import Browser, Rows

from .gateways import BenchmarkError
from .load import quantiles
from .page_upstream import Wish, numbers

SPREAD = 1.0  # seconds within which all have asked
OPENING = 4  # pages that are opened at the same time
PATIENCE = 60.0
TALKING = "all are answered"
"""The line on standard output that whoever measures something meanwhile waits for."""


@dataclass(slots=True)
class Seen:
    """One person's answer: when it grew, and how far it had come."""

    times: list[float] = field(default_factory=list)
    """By the monotonic clock, each time that there were more tokens than before."""
    tokens: list[int] = field(default_factory=list)

    def take(self, rows: Rows, now: float) -> None:
        """The thread as it is now."""
        tokens = numbers(answer_of(rows))
        if len(tokens) > len(self.tokens):
            self.times.append(now)
        self.tokens = tokens

    def gaps(self, begin: float, end: float) -> list[float]:
        """Seconds between updates, of all gaps that reach into the time from `begin` to `end`: one
        that is longer than that counts whole.
        """
        pairs = zip(self.times, self.times[1:], strict=False)
        return [later - sooner for sooner, later in pairs if later >= begin and sooner <= end]


@dataclass(slots=True)
class Result:
    """What the people saw while all of them were answered; times are seconds."""

    people: int
    begin: float
    """When the last of them saw something, by the monotonic clock."""
    end: float
    """When the first of them saw the end."""
    gap: dict[str, float]
    """p50 and p99: the median person's."""
    worst: float
    """The longest gap that anybody saw."""
    failures: dict[str, int]


def answer_of(rows: Rows) -> str:
    """The text of a thread's first answer, without the figures below it."""
    said = [row for row in rows if row["role"] == "assistant"]
    return said[0]["content"][0].get("text", "") if said else ""


class Crowd:
    """What the people wait for: room to open the page, everybody's page, everybody's answer."""

    def __init__(self) -> None:
        self.opening = asyncio.Semaphore(OPENING)
        self.ready = asyncio.Semaphore(0)
        self.go = asyncio.Event()
        self.answered = asyncio.Semaphore(0)

    async def one(self, http: httpx.AsyncClient, wish: Wish, delay: float, seen: Seen) -> None:
        """Open the page, wait for the others, ask, and read to the end."""
        browser = Browser(http)
        async with self.opening:
            await browser.open()
        self.ready.release()
        await self.go.wait()
        await asyncio.sleep(delay)
        await browser.send(wish.text())
        begun = False
        async for rows in browser.follow():
            seen.take(rows, time.monotonic())
            if seen.times and not begun:
                begun = True
                self.answered.release()
        if not begun:
            raise BenchmarkError("an answer has no tokens")

    async def all_of(self, step: asyncio.Semaphore, people: int) -> None:
        """Wait until all have taken a step."""
        for _ in range(people):
            await step.acquire()


async def talk(url: str, people: int, wish: Wish) -> list[Seen]:
    """All people's answers; says so when each of them has begun.

    Raises ExceptionGroup if a page fails, TimeoutError if one hangs.
    """
    crowd = Crowd()
    trusted = ssl.create_default_context()  # takes long, and is not used
    everybody = [Seen() for _ in range(people)]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(2 * PATIENCE + wish.tokens * wish.pace))
        clients = [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False, verify=trusted)
            )
            for _ in range(people)
        ]
        async with asyncio.TaskGroup() as group:
            for at, (http, seen) in enumerate(zip(clients, everybody, strict=True)):
                group.create_task(crowd.one(http, wish, SPREAD * at / people, seen))
            await crowd.all_of(crowd.ready, people)
            crowd.go.set()
            await crowd.all_of(crowd.answered, people)
            click.echo(TALKING)
    return everybody


def result(everybody: list[Seen], wish: Wish) -> Result:
    """The figures of the time in which all were answered, and what was wrong with the answers."""
    wrong = sum(seen.tokens != list(range(wish.tokens)) for seen in everybody)
    failures = {"tokens lost, doubled or out of order": wrong} if wrong else {}
    begin = max((seen.times[0] for seen in everybody if seen.times), default=0.0)
    end = min((seen.times[-1] for seen in everybody if seen.times), default=0.0)
    gaps = [found for seen in everybody if (found := seen.gaps(begin, end))]
    if len(gaps) < len(everybody) or begin >= end:
        failures["they were never answered all at once"] = 1
        return Result(len(everybody), begin, end, {}, 0.0, failures)
    each = [quantiles(found) for found in gaps]
    typical = {name: median(one[name] for one in each) for name in each[0]}
    return Result(len(everybody), begin, end, typical, max(map(max, gaps)), failures)


@click.command()
@click.option("--url", required=True)
@click.option("--people", type=int, required=True)
@click.option("--tokens", type=int, required=True)
@click.option("--pace", type=float, required=True, help="Seconds from one token to the next.")
def main(url: str, people: int, tokens: int, pace: float) -> None:
    wish = Wish(tokens, pace)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        everybody = runner.run(talk(url, people, wish))
    click.echo(json.dumps(asdict(result(everybody, wish))))


if __name__ == "__main__":
    main()
