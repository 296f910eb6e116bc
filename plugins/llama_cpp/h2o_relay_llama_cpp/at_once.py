"""Log-probabilities of an answer that may call tools: llama.cpp tells them whole and refuses to
stream them. So they are asked for whole, and the answer becomes the events of a stream.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson

from h2o_relay import openai_shape
from h2o_relay.chunks import END, PREFIX
from h2o_relay.http import HttpClient
from h2o_relay.types import Chunk, Request, Server
from h2o_relay.usage import asks_usage


def is_for(request: Request) -> bool:
    params = request.params
    return (
        request.kind == "chat"
        and request.prompt is None
        and bool(params.get("tools"))
        and bool(params.get("logprobs"))
    )


async def stream(
    find: openai_shape.Find, server: Server, client: HttpClient, request: Request
) -> AsyncIterator[Chunk]:
    """The answer in one piece, as soon as it is whole."""
    rest = {name: v for name, v in request.params.items() if name != "stream_options"}
    asked = replace(request, params={**rest, "stream": False}, body=None)
    answer = await openai_shape.generate(find, server, client, asked)
    events = _events(answer.data, asks_usage(request.params))
    yield Chunk(b"".join(PREFIX + orjson.dumps(event) + END for event in events), events)


def _events(data: dict[str, Any], usage: bool) -> list[dict[str, Any]]:
    """The events of a whole answer: what each choice says, that it has ended, and the usage. That
    of several choices is left out, since it is the first one's alone: the kernel counts.
    """
    apart = {"choices", "usage", "timings"}
    shared = {name: value for name, value in data.items() if name not in apart}
    shared["object"] = "chat.completion.chunk"
    events = []
    for choice in data["choices"]:
        index, said = choice.get("index") or 0, {k: v for k, v in choice.items() if k != "message"}
        delta = _delta(choice.get("message") or {})
        events.append(
            {**shared, "choices": [{**said, "index": index, "delta": delta, "finish_reason": None}]}
        )
        end = {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}
        events.append({**shared, "choices": [end]})
    if usage and data.get("usage") and len(data["choices"]) == 1:
        told = {name: value for name, value in data.items() if name in ("usage", "timings")}
        events.append({**shared, "choices": [], **told})
    return events


def _delta(message: dict[str, Any]) -> dict[str, Any]:
    """A message as the piece of a stream, whose calls are numbered."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return message
    numbered = [
        {"index": number, **call} if isinstance(call, dict) else call
        for number, call in enumerate(calls)
    ]
    return {**message, "tool_calls": numbered}
