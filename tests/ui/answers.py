"""Answers as a script says: what `FakeRelay.stream` gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from h2o_relay.behalf import headers
from h2o_relay.chunks import Chunk
from h2o_relay.errors import RelayError
from h2o_relay.types import Deployment, Kind


@dataclass(slots=True, kw_only=True)
class Script:
    """How a model answers. Durations are seconds."""

    pieces: Sequence[str] = ("Hello", " there", ".")
    reasoning: Sequence[str] = ()
    """Pieces of reasoning, before the answer's."""
    wait: float = 0.0
    """Before the first piece."""
    delay: float = 0.0
    """Before each other piece."""
    endless: bool = False
    """The pieces are repeated until the answer is closed."""
    hold: asyncio.Event | None = None
    """After the pieces nothing comes until it is set."""
    error: RelayError | None = None
    """Raised after the pieces; on entering where there are none."""
    finish_reason: str = "stop"
    usage: Mapping[str, int] | None = None
    """What is counted; None: 7 tokens of prompt and a token a piece. {}: nothing is counted."""
    notes: Mapping[str, str] | None = None
    dropped: tuple[str, ...] = ()


@dataclass(slots=True)
class Asked:
    """A request for an answer, and what became of it."""

    kind: Kind
    params: dict[str, Any]
    body: bytes | None = None
    behalf: Mapping[str, str] = field(default_factory=headers)
    """For whom: the headers of `behalf`."""
    ended: bool = False
    """The answer came to its own end, or to its error."""
    closed: bool = False
    """It was left: the upstream would be closed."""


class FakeAnswer:
    """What `kernel.stream` gives: iterate over it for chunks."""

    def __init__(self, deployment: Deployment, script: Script, asked: Asked) -> None:
        self.deployment = deployment
        self.notes, self.dropped = script.notes, script.dropped
        self._chunks = _chunks(deployment.name, script, asked)
        self._first: Chunk | None = None

    async def begin(self) -> None:
        self._first = await anext(self._chunks)

    async def close(self) -> None:
        await self._chunks.aclose()

    def __aiter__(self) -> FakeAnswer:
        return self

    async def __anext__(self) -> Chunk:
        first, self._first = self._first, None
        return first if first is not None else await anext(self._chunks)


async def _chunks(name: str, script: Script, asked: Asked) -> AsyncGenerator[Chunk, None]:
    pieces = [("reasoning_content", text) for text in script.reasoning]
    pieces += [("content", text) for text in script.pieces]
    sent, repeated = 0, True
    while repeated:
        for what, text in pieces:
            await asyncio.sleep(script.delay if sent else script.wait)
            sent += 1
            yield _event(name, asked.kind, {what: text})
        repeated = script.endless
    if not pieces:
        await asyncio.sleep(script.wait)
    if script.hold is not None:
        await script.hold.wait()
    asked.ended = True
    if script.error is not None:
        raise script.error
    yield _event(name, asked.kind, {}, script.finish_reason)
    usage = {"prompt_tokens": 7, "completion_tokens": sent, "total_tokens": 7 + sent}
    if script.usage is None or script.usage:
        yield Chunk.of(None, id="fake", model=name, kind=asked.kind, usage=script.usage or usage)


def _event(name: str, kind: Kind, delta: dict[str, str], finish: str | None = None) -> Chunk:
    chunk = Chunk.of(
        delta.get("content", ""), id="fake", model=name, kind=kind, finish_reason=finish
    )
    if "reasoning_content" not in delta:
        return chunk
    event = {**chunk.events()[0], "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    return Chunk(b"", [event])
