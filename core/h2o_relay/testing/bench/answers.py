"""The good answer that faults are made of: tokens `tok0`, `tok1` and so on, in OpenAI's shape.

The first token comes with the role, so that `k` events of a stream are `k` tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from ..scripts import Play, chunk, json, play, sse, whole
from ..upstream import Received
from ..wire import OpenAIWire
from .grammar import Asked

LEAST = 5
"""Tokens of an answer that does not say how many."""
BEYOND = 2
"""Tokens that a fault after so many keeps the client from."""


class BenchWire(OpenAIWire):
    """OpenAI's shape without an event for the role alone."""

    def payloads(
        self, request: Received, texts: Sequence[str], finish: str | None = "stop"
    ) -> list[bytes]:
        events = [orjson.loads(p) for p in super().payloads(request, texts, finish)]
        if "messages" in request.json():
            role = events.pop(0)["choices"][0]["delta"]
            for first in (choice for item in events[:1] for choice in item["choices"]):
                first["delta"] = {**role, **first["delta"]}
        return [orjson.dumps(item) for item in events]


WIRE = BenchWire()


def tokens(count: int = LEAST) -> list[str]:
    return [f"tok{n}" for n in range(count)]


def payloads(asked: Asked, texts: Sequence[str], finish: str | None = "stop") -> list[bytes]:
    """The events of a stream, without `[DONE]`."""
    return WIRE.payloads(asked.request, texts, finish)


def completion(asked: Asked, texts: Sequence[str], finish: str | None = "stop") -> dict[str, Any]:
    """The same as one object."""
    return WIRE.completion(asked.request, texts, finish)


def good(asked: Asked, texts: Sequence[str] | None = None) -> Play:
    """A faultless answer, streamed or not, as asked for."""
    said = tokens() if texts is None else texts
    if asked.stream:
        return sse(payloads(asked, said))
    return json(completion(asked, said))


def begun(asked: Asked, after: int) -> Play:
    """The head and the first `after` tokens of a longer answer; of a whole one the head and half
    of the body.
    """
    if asked.stream:
        return sse(payloads(asked, tokens(after + BEYOND))).upto(after)
    top, body = json(completion(asked, tokens(after + BEYOND))).steps
    assert isinstance(body, bytes)
    return play(top, body[: len(body) // 2])


def following(asked: Asked, after: int) -> list[bytes]:
    """The payloads that `begun` keeps back."""
    return payloads(asked, tokens(after + BEYOND))[after:]


def interrupted(asked: Asked, after: int, *odd: bytes, instead: bytes) -> Play:
    """A stream with these events after so many tokens, that then goes on as if nothing were. Where
    no stream is asked for, a 200 whose body is `instead`.
    """
    if not asked.stream:
        return whole(instead)
    events = [chunk(piece) for piece in odd]
    rest = sse(following(asked, after)).steps[1:]
    return begun(asked, after) + play(*events, *rest)


def failure(message: str, kind: str, code: str, param: str | None = None) -> dict[str, Any]:
    """The body of an error."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def refusal(status: int, error: Mapping[str, Any], retry_after: str | None = None) -> Play:
    """An error by status."""
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return json(error, status, headers)
