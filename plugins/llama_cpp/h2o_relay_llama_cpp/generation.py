"""Chats and completions: OpenAI's shape, but for what llama.cpp says otherwise or passes over.

Fields without an effect are reported (`unread`), calls that are demanded are made (`tools`), what
cannot be streamed is asked for whole (`at_once`), and of what comes back log-probabilities
(`logprobs`) and usages (`one_usage`) are put right.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Protocol, cast

import orjson

from h2o_relay import openai_shape
from h2o_relay.as_text import readable_events
from h2o_relay.chunks import END, PREFIX
from h2o_relay.errors import InvalidRequest, RelayError
from h2o_relay.http import HttpClient
from h2o_relay.types import Chunk, Request, Server

from . import at_once, logprobs, one_usage, paths, tools, unread


class Mending(Protocol):
    """What puts the events of one stream right."""

    def event(self, event: Any) -> Any:
        """An event, mended; None where nothing is left of it. What it does not know it leaves to
        the kernel, which judges it.
        """

    def last(self) -> dict[str, Any] | None:
        """An event to end the stream with."""


async def stream(server: Server, client: HttpClient, request: Request) -> AsyncIterator[Chunk]:
    """The answer's events. Raises InvalidRequest for what the model cannot see or hear."""
    request.drop(*unread.fields(request))
    asked, mendings = _prepared(request)
    way = at_once.stream if at_once.is_for(asked) else openai_shape.stream
    answering = way(paths.target, server, client, asked)
    async with aclosing(cast("AsyncGenerator[Chunk, None]", answering)) as chunks:
        try:
            chunk = await anext(chunks, None)
        except RelayError as error:
            raise _of_media(error, request.params) or error from None
        while chunk is not None:
            good, wrong = _mended(chunk, mendings)
            if good is not None:
                yield good
            if wrong is not None:
                raise wrong
            chunk = await anext(chunks, None)
    ends = [event for mending in mendings if (event := mending.last()) is not None]
    if ends:
        yield _chunk(ends)


def _prepared(request: Request) -> tuple[Request, list[Mending]]:
    """The request to send, and what is done to its answer."""
    mendings: list[Mending] = []
    forced = tools.forced(request)
    if forced is not None:
        request = forced.request
        mendings.append(forced)
    told = logprobs.told(request)
    if told is not None:
        request = told.request
        mendings.append(told)
    summed = one_usage.summed(request)
    if summed is not None:
        mendings.append(summed)
    return request, mendings


def _mended(chunk: Chunk, mendings: list[Mending]) -> tuple[Chunk | None, RelayError | None]:
    """What is left of a chunk; with an event that is no JSON what came before it, and the error."""
    if not mendings:
        return chunk, None
    readable, wrong = readable_events(chunk)
    events = [event for one in readable if (event := _through(one, mendings)) is not None]
    return (_chunk(events) if events else None), wrong


def _through(event: Any, mendings: list[Mending]) -> Any:
    for mending in mendings:
        event = mending.event(event)
        if event is None:
            return None
    return event


def _chunk(events: list[Any]) -> Chunk:
    return Chunk(b"".join(PREFIX + orjson.dumps(event) + END for event in events), events)


def _of_media(error: RelayError, params: Mapping[str, Any]) -> InvalidRequest | None:
    """The caller's error where a picture or a sound was refused: llama.cpp answers 500, with the
    reason, to those that its model does not take and to those that it cannot decode.
    """
    if error.upstream_status != 500 or not error.upstream_message or not _has_media(params):
        return None
    refused = InvalidRequest(error.upstream_message, param="messages", code="invalid_value")
    refused.upstream_status = error.upstream_status
    return refused


def _has_media(params: Mapping[str, Any]) -> bool:
    messages = params.get("messages")
    contents = [m.get("content") for m in messages or () if isinstance(m, dict)]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return any(isinstance(part, dict) and part.get("type") != "text" for part in parts)
