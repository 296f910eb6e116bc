"""The scripted server of the page's benchmark: it thinks first, and writes what a page can show.

`upstream.py` with two differences for streams: a wish says how long to wait before the first token
(`Wish`), and only the first token says when it was written, so that the others are as long as a
model's. Its text is `<0>@<nanoseconds> 1 2 3`, by the monotonic clock.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Self

import click
import uvloop

from . import upstream, wire

_THINK = re.compile(rb"after (\d+) ms")
_FIRST = re.compile(r"\b0@(\d+)")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a question asks the server to do; `pace` and `think` are seconds."""

    tokens: int
    pace: float
    think: float = 0.0

    def text(self) -> str:
        """The question."""
        pace, think = round(self.pace * 1000), round(self.think * 1000)
        return f"Write {self.tokens} tokens, one every {pace} ms, after {think} ms."

    @classmethod
    def read(cls, body: bytes, script: wire.Script) -> Self:
        """The wish in a request's body, of which `script` is what every upstream reads."""
        found = _THINK.search(body)
        return cls(script.tokens, script.pace, int(found[1]) / 1000 if found else 0.0)


def token_event(number: int) -> bytes:
    """The event of one token; the first says when it was written."""
    event = wire.token_event(number)
    return wire.TOKEN.sub(b'"content":" %d"' % number, event, count=1) if number else event


def written_at(text: str) -> float | None:
    """Seconds by the monotonic clock at which the answer's first token was written; None if it is
    not in this text.
    """
    found = _FIRST.search(text)
    return None if found is None else int(found[1]) / 1e9


def numbers(text: str) -> list[int]:
    """The tokens that are in an answer's text."""
    return [int(word.partition("@")[0]) for word in text.split() if word[0].isdecimal()]


class Thinking(upstream.Upstream):
    """One kept-alive connection; one request at a time."""

    def answer(self, script: wire.Script | None, shape: wire.Shape) -> None:
        if script is None or not script.stream:
            super().answer(script, shape)
        else:
            self.stream = Spoken(self.transport, script, Wish.read(self.body, script).think)


class Spoken(upstream.Stream):
    """A streamed answer that begins after a while; it writes too little to be paused."""

    def __init__(self, transport: asyncio.Transport, script: wire.Script, think: float) -> None:
        self.transport, self.script, self.shape = transport, script, wire.OPENAI
        self.loop = asyncio.get_running_loop()
        self.start = self.loop.time() + think
        self.sent = 0
        self.over = self.paused = False
        self.timer: asyncio.Handle | None = self.loop.call_at(self.start, self.begin)

    def begin(self) -> None:
        """Head, role and first token at once."""
        head = upstream.STREAM_HEAD % self.shape.kind
        self.transport.write(head + wire.chunked(wire.role_event()))
        self.step()

    def step(self) -> None:
        self.timer = None
        if self.sent >= self.script.tokens:
            self.finish()
            return
        self.transport.write(wire.chunked(token_event(self.sent)))
        self.sent += 1
        self.schedule()


async def serve(port: int) -> None:
    """Answer until cancelled."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Thinking, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


@click.command()
@click.option("--port", type=int, required=True)
def main(port: int) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(port))


if __name__ == "__main__":
    main()
