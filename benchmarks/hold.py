"""Many streams held at once, slow as long answers are: who gets every token in time, and at what
memory. JSON on standard output; a process of its own, like `load.py`.

All connections are opened first. The streams are asked for evenly within `RAMP` seconds. Once all
have begun, or it has taken too long, they are watched for some seconds, and then hung up on.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

import click
import uvloop

from . import cpu, wire
from .client import Connection, Exchange, Streamed, Tally
from .load import Scenario, Watch, connect, request_of

PACE, STALL = 1.0, 2.0
"""Seconds between the tokens of a stream, and from which on it has stalled."""
RAMP, OPENING, BEGINNING = 4.0, 30.0, 15.0
"""Seconds to ask for all streams in, for connections to be accepted, and for streams to begin."""
LOOK = 0.2
TOKENS = 600


@dataclass(slots=True)
class Held:
    """What became of `streams` that were asked for."""

    streams: int
    begun: int
    """How many had a first token when the measured time began."""
    held: int
    """How many never waited for a token as long as `STALL`, with all tokens once and in order."""
    wrong: int
    """How many had tokens lost, doubled or out of order."""
    longest: float
    """Seconds: the longest wait in a stream that was held."""
    seconds: float
    memory: float | None = None
    """MiB of the gateway's processes at the end, when all was held."""
    cpu: float | None = None
    """Seconds of CPU time that the gateway took in the measured time."""


class Waiting(Streamed):
    """One stream, and how long it has waited for its tokens."""

    def begin(self) -> None:
        super().begin()
        self.last = self.started
        self.longest = 0.0

    def events(self, whole: bytes, now: float) -> None:
        before = self.seen
        super().events(whole, now)
        if self.seen > before:
            self.longest = max(self.longest, now - self.last)
            self.last = now


def result(streams: Sequence[Waiting | None], begun: int, seconds: float, now: float) -> Held:
    """`None` stands for a stream that broke off or never began."""
    there = [stream for stream in streams if stream is not None]
    waits = [max(stream.longest, now - stream.last) for stream in there if stream.fault is None]
    good = [wait for wait in waits if wait < STALL]
    wrong = sum(stream.fault is not None for stream in there)
    return Held(len(streams), begun, len(good), wrong, max(good, default=0.0), seconds)


async def hold(url: str, count: int, seconds: float, watch: Watch, key: str = wire.NO_KEY,
               ramp: float = RAMP) -> Held:  # fmt: skip
    """Holds `count` streams; what is measured begins once all should have begun."""
    request = request_of(Scenario("held", "", count, TOKENS, PACE), url, key)
    try:
        async with asyncio.timeout(OPENING):
            connections = await connect(url, count)
    except TimeoutError:
        return Held(count, 0, 0, 0, 0.0, seconds)
    tally = Tally()
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_stream(connection, request, tally, ramp * place / count))
                for place, connection in enumerate(connections)
            ]
            await asyncio.sleep(ramp)
            begun = await _begun(connections)
            spent, begin = watch.read()[0], time.monotonic()
            await asyncio.sleep(seconds)
            now = time.monotonic()
            found = result([_waiting(one) for one in connections], begun, now - begin, now)
            after = watch.read()[0]
            found.cpu = None if spent is None or after is None else after - spent
            found.memory = None if watch.pid is None else cpu.memory(watch.pid).now
            for task in tasks:
                task.cancel()
    finally:
        for connection in connections:
            connection.transport.abort()
        # The loop closes them in its next step.
        await asyncio.sleep(0)
    return found


async def _stream(connection: Connection, request: bytes, tally: Tally, delay: float) -> None:
    await asyncio.sleep(delay)
    source: list[Exchange] = [Waiting(request, tally, TOKENS)]
    await connection.run(iter(source))


def _waiting(connection: Connection) -> Waiting | None:
    return cast(Waiting | None, connection.exchange)


async def _begun(connections: Sequence[Connection]) -> int:
    """Waits until all have begun or broken off, and says how many have begun. Longest waits are
    counted from here on, the one that a stream is in in full; one that has not begun has waited
    since its request.
    """
    for _ in range(round(BEGINNING / LOOK)):
        streams = [stream for stream in map(_waiting, connections) if stream is not None]
        if all(stream.seen for stream in streams):
            break
        await asyncio.sleep(LOOK)
    for stream in streams:
        stream.longest = 0.0
    return sum(bool(stream.seen) for stream in streams)


@click.command()
@click.option("--url", required=True)
@click.option("--streams", type=int, required=True)
@click.option("--seconds", type=float, default=5.0, help="How long it is looked at.")
@click.option("--pid", type=int, help="The gateway, whose CPU time and memory are read.")
@click.option("--key", default=wire.NO_KEY, help="What is presented to the gateway.")
def main(url: str, streams: int, seconds: float, pid: int | None, key: str) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(hold(url, streams, seconds, Watch(pid, None), key))
    click.echo(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
