"""The Messages API: /v1/chat/completions, whose shape is OpenAI's but for what is mended here.

The kernel's own machinery carries it. A request's bytes go up unchanged unless they hold something
that TGI would refuse or misread (`adapted`); events come down unchanged unless they hold something
that is not as OpenAI has it (`repaired`), or the caller has stop sequences, one of which TGI leaves
in the text.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

import orjson

from h2o_relay import openai_shape
from h2o_relay.chunks import END, PREFIX
from h2o_relay.errors import RelayError
from h2o_relay.hookspecs import steady
from h2o_relay.http import HttpClient
from h2o_relay.types import Call, Chunk, Completion, Request, Server, Target

from . import failures
from .fields import NATIVE_ONLY, asked_in_vain
from .grammar import grammar_of
from .parameters import SEEDS, narrowed, token_limit
from .repair import StopsInEvents, cut_whole, repaired
from .server_string import headers, root
from .stops import MOST_SENT, stops_of

PATHS = ("/chat/completions", "/completions", "/models")
UNREAD = ("presence_penalty", "logit_bias", "max_completion_tokens", "do_sample", "grammar")
"""Fields that never go up: translated, or not honoured. TGI reads a presence penalty of p as a
repetition penalty of 2 + p, so that 0, which means none, would be a strong one; and it refuses the
`logit_bias` that OpenAI's clients send though it uses none."""
UNUSUAL = re.compile(
    rb'"text_completion"|"eos_token"|"stop_sequence"|"tool_calls"\s*:\s*[\[{]|"error"\s*:'
)
"""What an event must hold to be looked at; a match in a text costs only time."""


@steady
def target(server: Server, call: Call) -> Target | None:
    """OpenAI's paths, as far as TGI has them."""
    if call.path not in PATHS:
        return None
    query = f"?{call.query}" if call.query else ""
    return Target(
        method=call.method,
        url=f"{root(server.url)}/v1{call.path}{query}",
        headers={**call.headers, **headers(server)},
        body=call.body,
    )


async def generate(server: Server, client: HttpClient, request: Request) -> Completion:
    """The whole answer. Raises RelayError."""
    asked = adapted(request)
    try:
        completion = await openai_shape.generate(target, server, client, asked)
    except RelayError as error:
        raise failures.sharpened(error, server) from None
    changed = UNUSUAL.search(completion.body) is not None and repaired(completion.data)
    stops = stops_of(request)
    if stops:
        changed = cut_whole(completion.data, stops) or changed
    if not changed:
        return completion
    return Completion(orjson.dumps(completion.data), completion.data)


async def stream(
    server: Server, client: HttpClient, request: Request
) -> AsyncGenerator[Chunk, None]:
    """The answer as it comes. Raises RelayError."""
    asked, stops = adapted(request), stops_of(request)
    cutting = StopsInEvents(stops) if stops else None
    came = False
    streaming = openai_shape.stream(target, server, client, asked)
    try:
        async with aclosing(cast("AsyncGenerator[Chunk, None]", streaming)) as chunks:
            async for chunk in chunks:
                came = True
                if cutting is None and UNUSUAL.search(chunk.raw) is None:
                    yield chunk
                    continue
                for event in chunk.events():
                    yield _mended(event, server, cutting)
                    if cutting is not None and cutting.over:
                        return
    except orjson.JSONDecodeError:
        yield chunk  # the kernel says what is wrong with it
    except RelayError as error:
        raise failures.sharpened(error, server) from None
    if not came:
        async for chunk in _unstreamed(server, client, request):
            yield chunk


def _mended(event: Any, server: Server, cutting: StopsInEvents | None) -> Chunk:
    """The event as OpenAI would have sent it. Raises RelayError for one that is an error."""
    if isinstance(event, dict):
        if event.get("error"):
            raise failures.in_stream(event, server)
        repaired(event)
        if cutting is not None:
            cutting.take(event)
    return Chunk(PREFIX + orjson.dumps(event) + END, [event])


async def _unstreamed(
    server: Server, client: HttpClient, request: Request
) -> AsyncGenerator[Chunk, None]:
    """The answer to the same request when its stream was empty.

    TGI 2.2 to 3.0 leave errors out of these streams, so that a refusal looks like nothing at all;
    asked for a whole answer, they say what is wrong.
    """
    left = {name: v for name, v in request.params.items() if name != "stream_options"}
    params = {**left, "stream": False}
    completion = await generate(server, client, replace(request, params=params, body=None))
    data = completion.data
    choices = []
    for choice in data["choices"]:
        delta = dict(choice.get("message") or {})
        if isinstance(delta.get("tool_calls"), list):
            delta["tool_calls"] = [
                {"index": index, **call} for index, call in enumerate(delta["tool_calls"])
            ]
        kept = {name: value for name, value in choice.items() if name != "message"}
        choices.append({**kept, "delta": delta})
    event = {**data, "object": "chat.completion.chunk", "choices": choices}
    usage = event.pop("usage", None)
    yield Chunk(PREFIX + orjson.dumps(event) + END, [event])
    options = request.params.get("stream_options")
    if usage and isinstance(options, dict) and options.get("include_usage"):
        event = {**event, "choices": [], "usage": usage}
        yield Chunk(PREFIX + orjson.dumps(event) + END, [event])


def adapted(request: Request) -> Request:
    """The request as TGI's ChatRequest wants it; the same one if that is what it is.

    Fields that only /generate honours are left out and reported.
    """
    params = request.params
    request.drop(*asked_in_vain(params, NATIVE_ONLY))
    changes = _changes(request)
    unread = [name for name in (*UNREAD, *NATIVE_ONLY) if name in params]
    if not changes and not unread:
        return request
    merged = {**params, **changes}
    kept = {n: v for n, v in merged.items() if n not in unread and v is not None}
    return replace(request, params=kept, body=None)


def _changes(request: Request) -> dict[str, Any]:
    """Fields with another value; None for those that are better left out."""
    params = request.params
    changes: dict[str, Any] = {}
    if params.get("max_completion_tokens") is not None:
        changes["max_tokens"] = token_limit(params)
    stop = params.get("stop")
    if isinstance(stop, str) or (isinstance(stop, list) and len(stop) > MOST_SENT):
        changes["stop"] = list(stops_of(request)[:MOST_SENT]) or None
    top_p = params.get("top_p")
    if isinstance(top_p, int | float) and not 0 < top_p < 1:
        changes["top_p"] = narrowed(top_p)
    if params.get("do_sample") is False:
        changes["temperature"] = 0
    seed = params.get("seed")
    if isinstance(seed, int) and not 0 <= seed < SEEDS:
        changes["seed"] = seed % SEEDS
    if params.get("response_format") is not None or params.get("grammar") is not None:
        changes["response_format"] = grammar_of(params)
    return changes
