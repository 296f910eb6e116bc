"""One kept-alive connection of the load, and the checks on what comes back on it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import httptools

from . import wire

LOST = "tokens lost, doubled or out of order"
CLOSED = "connection closed"


@dataclass(slots=True)
class Tally:
    """What the answers of one scenario amount to; times are seconds."""

    requests: int = 0
    """Complete, correct answers."""
    tokens: int = 0
    latencies: list[float] = field(default_factory=list)
    """From a request's writing to its answer's end."""
    first_tokens: list[float] = field(default_factory=list)
    """From a request's writing to its first token."""
    transits: list[float] = field(default_factory=list)
    """From the upstream's writing of a token to its arrival here."""
    failures: Counter[str] = field(default_factory=Counter)


class Exchange:
    """One request and the checks on its answer."""

    def __init__(self, request: bytes, tally: Tally) -> None:
        self.request, self.tally = request, tally
        self.fault: str | None = None

    def begin(self) -> None:
        self.started = time.monotonic()

    def feed(self, data: bytes) -> None:
        """Takes a piece of the answer's body."""
        raise NotImplementedError

    def check(self) -> str | None:
        """What is wrong with an answer that has ended; None if nothing is."""
        raise NotImplementedError

    def end(self, status: int) -> None:
        fault = f"status {status}" if status != 200 else self.fault or self.check()
        if fault is not None:
            self.tally.failures[fault] += 1
            return
        self.tally.requests += 1
        self.tally.latencies.append(time.monotonic() - self.started)


class Plain(Exchange):
    """A whole answer."""

    def begin(self) -> None:
        super().begin()
        self.body = b""

    def feed(self, data: bytes) -> None:
        self.body += data

    def check(self) -> str | None:
        whole = wire.ANSWER.encode() in self.body and wire.FINISH.search(self.body)
        return None if whole else "incomplete answer"


class Streamed(Exchange):
    """A stream of numbered tokens: every one, once, in order, then a finish reason and the end."""

    def __init__(self, request: bytes, tally: Tally, tokens: int) -> None:
        super().__init__(request, tally)
        self.tokens = tokens

    def begin(self) -> None:
        super().begin()
        self.rest = b""
        self.seen = 0
        self.finished = self.done = False

    def feed(self, data: bytes) -> None:
        whole, end, self.rest = (self.rest + data).rpartition(b"\n\n")
        if end:
            self.events(whole, time.monotonic())

    def events(self, whole: bytes, now: float) -> None:
        """Checks whole events."""
        if self.done:
            self.fault = "something after the end"
        for found in wire.TOKEN.finditer(whole):
            if int(found[1]) != self.seen:
                self.fault = LOST
            if not self.seen:
                self.tally.first_tokens.append(now - self.started)
            self.seen += 1
            self.tally.tokens += 1
            self.tally.transits.append(now - int(found[2]) / 1e9)
        if self.seen == self.tokens:
            self.finished = self.finished or wire.FINISH.search(whole) is not None
            self.done = whole.endswith(wire.DONE)

    def check(self) -> str | None:
        if self.seen != self.tokens:
            return LOST
        if not self.finished:
            return "no finish reason"
        return None if self.done and not self.rest else "no end marker"


class Connection(asyncio.Protocol):
    """Makes one exchange after the other; httptools calls the `on_` methods."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.exchange: Exchange | None = None
        self.source: Iterator[Exchange] = iter(())
        self.finished: asyncio.Future[None] | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    async def run(self, source: Iterator[Exchange]) -> None:
        """Makes all exchanges, or as many as the connection lasts; its loss is a failure."""
        self.finished = asyncio.get_running_loop().create_future()
        self.source = source
        self.next()
        await self.finished

    def next(self) -> None:
        self.exchange = next(self.source, None)
        if self.exchange is None:
            self.settle()
        elif self.lost:
            self.give_up(self.exchange)
        else:
            self.exchange.begin()
            self.transport.write(self.exchange.request)

    def settle(self) -> None:
        if self.finished is not None and not self.finished.done():
            self.finished.set_result(None)

    def give_up(self, exchange: Exchange) -> None:
        exchange.tally.failures[CLOSED] += 1
        self.exchange = None
        self.settle()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self.exchange is not None:
            self.give_up(self.exchange)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        if self.exchange is not None:
            self.exchange.feed(body)

    def on_message_complete(self) -> None:
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            self.transport.abort()
            return
        exchange.end(self.parser.get_status_code())
        self.next()
