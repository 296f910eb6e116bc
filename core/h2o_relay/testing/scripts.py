"""Ready-made answers for `ScriptedUpstream`, and ways to spoil them.

A `Play` is a sequence of steps: bytes to send as they are, seconds to wait, or something to do to
the connection. Its methods return changed copies, so that a fault is said in one line:

    sse(payloads).upto(3) + play(reset)          # the head, three events, then RST
    sse(payloads).recut(each(1))                 # the same bytes, one TCP segment each
    json({"data": []}).recut(each(1)).paced(0.2) # a head that drips
    play(EARLY_HINTS) + json({"data": []})       # an informational answer comes first

Formats: HTTP/1.1 framing is RFC 9112 sections 6 and 7, events are the WHATWG HTML standard's
"server-sent events", the payloads OpenAI's API reference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Literal

import orjson

from .upstream import Answer, Received, Script

Action = Callable[[Answer], Awaitable[None]]
Step = bytes | float | Action
Cut = Callable[[bytes], Iterable[bytes]]
Framing = Literal["chunked", "length", "close"]

end: Action = Answer.end
reset: Action = Answer.reset
hang: Action = Answer.hang

LAST = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Play:
    """A script made of steps. The connection stays open after the last one."""

    steps: tuple[Step, ...]

    async def __call__(self, request: Received, answer: Answer) -> None:
        for step in self.steps:
            if isinstance(step, bytes):
                await answer.send(step)
            elif isinstance(step, int | float):
                await asyncio.sleep(step)
            else:
                await step(answer)

    def __add__(self, other: Play) -> Play:
        return Play(self.steps + other.steps)

    @property
    def wire(self) -> bytes:
        """All bytes that it sends."""
        return b"".join(step for step in self.steps if isinstance(step, bytes))

    @property
    def body(self) -> bytes:
        """The body of what `stream` made in chunked framing, without that framing."""
        pieces = [step for step in self.steps if isinstance(step, bytes)][1:]
        return b"".join(piece.partition(b"\r\n")[2][:-2] for piece in pieces if piece != LAST)

    def upto(self, pieces: int) -> Play:
        """The head and the first `pieces` pieces of the body, each of which is one step."""
        return replace(self, steps=self.steps[: 1 + pieces])

    def recut(self, cut: Cut) -> Play:
        """The same bytes in other TCP segments; waits and actions keep their places."""
        steps: list[Step] = []
        run = b""
        for step in (*self.steps, None):
            if isinstance(step, bytes):
                run += step
                continue
            steps += [piece for piece in cut(run) if piece]
            run = b""
            if step is not None:
                steps.append(step)
        return replace(self, steps=tuple(steps))

    def rechunk(self, cut: Cut) -> Play:
        """The same body in other HTTP chunks; for what `stream` made in chunked framing."""
        top = next(step for step in self.steps if isinstance(step, bytes))
        return play(top, *(chunk(piece) for piece in cut(self.body) if piece), LAST)

    def paced(self, seconds: float) -> Play:
        """Waits after every send."""
        steps: list[Step] = []
        for step in self.steps:
            steps += [step, seconds] if isinstance(step, bytes) else [step]
        return replace(self, steps=tuple(steps))


def play(*steps: Step) -> Play:
    return Play(steps)


def head(status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    """A status line and headers, exactly those given."""
    lines = [f"HTTP/1.1 {status} {_phrase(status)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One chunk of HTTP's chunked framing."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(payload: bytes, newline: bytes = b"\n") -> bytes:
    return b"data: " + payload + newline * 2


def whole(
    body: bytes,
    status: int = 200,
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> Play:
    """An answer of known length."""
    sent = {"content-type": content_type, "content-length": str(len(body)), **(headers or {})}
    return play(head(status, sent), body)


def json(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Play:
    return whole(orjson.dumps(data), status, headers=headers)


def redirect(location: str, status: int = 307) -> Play:
    return whole(b"", status, headers={"location": location})


def stream(
    pieces: Sequence[bytes],
    *,
    status: int = 200,
    content_type: str = "text/event-stream",
    headers: Mapping[str, str] | None = None,
    framing: Framing = "chunked",
) -> Play:
    """An answer in pieces: a step for the head, one for each piece, and one for the end.

    Each piece is one HTTP chunk and one TCP segment; `Play.rechunk` and `Play.recut` change that.
    """
    sent = {"content-type": content_type, **(headers or {})}
    if framing == "chunked":
        sent["transfer-encoding"] = "chunked"
        return play(head(status, sent), *(chunk(piece) for piece in pieces), LAST)
    if framing == "length":
        sent["content-length"] = str(sum(map(len, pieces)))
        return play(head(status, sent), *pieces)
    return play(head(status, {**sent, "connection": "close"}), *pieces, end)


def sse(
    payloads: Sequence[bytes],
    *,
    done: bool = True,
    newline: bytes = b"\n",
    headers: Mapping[str, str] | None = None,
    framing: Framing = "chunked",
) -> Play:
    """A stream of events, with OpenAI's `[DONE]` at its end unless `done` is false."""
    events = [event(payload, newline) for payload in payloads]
    events += [event(b"[DONE]", newline)] if done else []
    return stream(events, headers=headers, framing=framing)


def each(size: int) -> Cut:
    """Pieces of `size` bytes."""
    return lambda data: [data[i : i + size] for i in range(0, len(data), size)]


def at(*places: int) -> Cut:
    """Cut before the bytes at these places."""
    bounds = [0, *sorted(places)]
    return lambda data: [
        data[start:stop] for start, stop in zip(bounds, [*bounds[1:], len(data)], strict=True)
    ]


def in_turn(*scripts: Script) -> Script:
    """The first script for the first request, and so on; the last one for all that follow."""
    waiting = list(scripts)

    async def run(request: Received, answer: Answer) -> None:
        script = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        await script(request, answer)

    return run


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"
