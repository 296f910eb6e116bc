"""The load: one scenario against one address, measured, as JSON on standard output.

A process of its own. It opens its connections, warms them up, and only then reads the clocks.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

import click
import uvloop

from . import cpu, wire
from .client import Connection, Exchange, Plain, Streamed, Tally

WARM_UP = 0.3
PATIENCE = 30.0
LATE = "not over in time"
PLAIN_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is asked for, and over how many connections; `pace` is seconds between tokens."""

    name: str
    about: str
    connections: int
    tokens: int = 0
    """0: plain completions."""
    pace: float = 0.0


SCENARIOS = {
    each.name: each
    for each in (
        Scenario("p100", "100 streams of 100 tokens, one every 20 ms", 100, 100, 0.02),
        Scenario("ns64", "plain completions over 64 connections, as fast as they go", 64),
        Scenario("ns1", "plain completions over one connection, one after the other", 1),
        Scenario("st16", "streams of 100 tokens over 16 connections, unpaced", 16, 100),
        Scenario("p1000", "1000 streams of 100 tokens, one every 25 ms", 1000, 100, 0.025),
    )
}


@dataclass(slots=True)
class Result:
    """One scenario, measured. `cpu` is the gateway's; None where there is none to read."""

    scenario: str
    requests: int
    tokens: int
    seconds: float
    cpu: float | None = None
    noise: float | None = None
    """Share of the gateway's core that others took."""
    latency: dict[str, float] = field(default_factory=dict)
    """Seconds: p50 and p99; the same for the two below."""
    first_token: dict[str, float] = field(default_factory=dict)
    transit: dict[str, float] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    done: float = 0.0
    """Share of all requests that were answered completely, correctly and in time."""


@dataclass(frozen=True, slots=True)
class Watch:
    """The gateway's process and core, to be read at the ends of the measured time."""

    pid: int | None
    core: int | None

    def read(self) -> tuple[float | None, float | None]:
        """CPU seconds of the process tree, and of everything on the core."""
        spent = None if self.pid is None else cpu.seconds(self.pid)
        return spent, None if self.core is None else cpu.core_busy(self.core)


@dataclass(frozen=True, slots=True)
class Mark:
    """How far everything is at one moment."""

    time: float
    spent: float | None
    busy: float | None
    requests: int
    tokens: int
    counts: tuple[int, int, int]
    """Lengths of the tally's three lists of times."""

    @classmethod
    def now(cls, watch: Watch, tally: Tally) -> Mark:
        counts = (len(tally.latencies), len(tally.first_tokens), len(tally.transits))
        spent, busy = watch.read()
        return cls(time.monotonic(), spent, busy, tally.requests, tally.tokens, counts)


def quantiles(values: list[float]) -> dict[str, float]:
    """p50 and p99 (nearest rank); empty without values."""
    if not values:
        return {}
    ordered = sorted(values)
    return {f"p{q}": ordered[min(len(ordered) * q // 100, len(ordered) - 1)] for q in (50, 99)}


def exchanges(scenario: Scenario, request: bytes, tally: Tally, stop: float) -> Iterator[Exchange]:
    """One connection's requests: one after the other until it is `stop` by the monotonic clock."""
    stream = bool(scenario.tokens)
    while time.monotonic() < stop:
        yield Streamed(request, tally, scenario.tokens) if stream else Plain(request, tally)


def request_of(scenario: Scenario, url: str, key: str) -> bytes:
    stream = bool(scenario.tokens)
    script = wire.Script(scenario.tokens or PLAIN_TOKENS, scenario.pace, stream)
    return script.request(urlsplit(url).netloc, key)


async def connect(url: str, count: int) -> list[Connection]:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(Connection, host, port) for _ in range(count)]
    return [connection for _, connection in opened]


async def drive(
    connections: list[Connection], scenario: Scenario, request: bytes, tally: Tally, stop: float,
    patience: float,
) -> None:  # fmt: skip
    """Keeps all connections busy until `stop`, and waits so long for what is under way then.

    Paced streams begin at random within one stream's time: then they neither begin together nor
    move in step.
    """
    delays = random.Random(7)

    async def one(connection: Connection) -> None:
        await asyncio.sleep(delays.uniform(0, scenario.tokens * scenario.pace))
        await connection.run(exchanges(scenario, request, tally, stop))

    try:
        async with asyncio.timeout(stop - time.monotonic() + patience):
            await asyncio.gather(*(one(connection) for connection in connections))
    except TimeoutError:
        tally.failures[LATE] += sum(bool(c.exchange) for c in connections)


async def measure(
    url: str, scenario: Scenario, seconds: float, watch: Watch, key: str = wire.NO_KEY,
    patience: float = PATIENCE,
) -> Result:  # fmt: skip
    """Runs one scenario; what is measured begins once all connections are busy."""
    request = request_of(scenario, url, key)
    connections = await connect(url, scenario.connections)
    ramp = scenario.tokens * scenario.pace + WARM_UP
    tally = Tally()
    try:
        async with asyncio.TaskGroup() as group:
            stop = time.monotonic() + ramp + seconds
            group.create_task(drive(connections, scenario, request, tally, stop, patience))
            await asyncio.sleep(ramp)
            gc.collect()
            gc.disable()
            before = Mark.now(watch, tally)
            await asyncio.sleep(seconds)
            after = Mark.now(watch, tally)
            gc.enable()
        # Before they are hung up on, which is no failure.
        return between(scenario, tally, before, after)
    finally:
        for connection in connections:
            connection.transport.abort()
        # The loop closes them in its next step.
        await asyncio.sleep(0)


def between(scenario: Scenario, tally: Tally, before: Mark, after: Mark) -> Result:
    """What happened from one mark to the other; failures are counted whenever they happened."""
    elapsed = after.time - before.time
    noise = None
    used = None if before.spent is None or after.spent is None else after.spent - before.spent
    if used is not None and before.busy is not None and after.busy is not None:
        noise = max(0.0, after.busy - before.busy - used) / elapsed
    lists = (tally.latencies, tally.first_tokens, tally.transits)
    ends = zip(lists, before.counts, after.counts, strict=True)
    latency, first_token, transit = (quantiles(values[low:high]) for values, low, high in ends)
    return Result(
        scenario.name, after.requests - before.requests, after.tokens - before.tokens, elapsed,
        used, noise, latency, first_token, transit, dict(tally.failures), share_done(tally),
    )  # fmt: skip


def share_done(tally: Tally) -> float:
    whole = tally.requests + sum(tally.failures.values())
    return tally.requests / whole if whole else 0.0


@click.command()
@click.option("--url", required=True)
@click.option("--scenario", type=click.Choice(list(SCENARIOS)), required=True)
@click.option("--seconds", type=float, default=4.0, help="About how long to measure.")
@click.option("--pid", type=int, help="The gateway, whose CPU time is read.")
@click.option("--core", type=int, help="The gateway's core, to see what else works on it.")
@click.option("--key", default=wire.NO_KEY, help="What is presented to the gateway.")
@click.option("--patience", type=float, default=PATIENCE, help="For answers to end, after it.")
def main(
    url: str, scenario: str, seconds: float, pid: int | None, core: int | None, key: str,
    patience: float,
) -> None:  # fmt: skip
    watch = Watch(pid, core)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(measure(url, SCENARIOS[scenario], seconds, watch, key, patience))
    click.echo(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
