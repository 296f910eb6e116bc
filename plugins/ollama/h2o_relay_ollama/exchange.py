"""What is asked of an Ollama server: a generation, whole or streamed, or a small document."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import orjson

from h2o_relay.chunks import Chunk, Completion
from h2o_relay.errors import RelayError, UpstreamIncomplete
from h2o_relay.http import HttpClient, Response
from h2o_relay.types import Request, Server

from .address import headers, root
from .answers import Event, Translator, chunk_of
from .at_once import event_of, framed, taking
from .body import order
from .failures import refusal
from .lines import Lines, decoded

DOCUMENT_LIMIT = 8 * 2**20  # bytes of a list of models, or of all that is known of one


async def generate(server: Server, client: HttpClient, request: Request) -> Completion:
    """The whole answer. Closing the connection ends Ollama's work, streamed or not."""
    route, body = order(server, request, stream=False)
    limit = client.settings.answer_timeout
    exchange = client.request(
        "POST", f"{root(server)}{route}", headers=headers(server), body=body,
        first_byte=limit, total=limit,
    )  # fmt: skip
    async with exchange as response:
        if response.status >= 300:
            raise await refusal(response, server)
        said = decoded(await response.read(client.settings.max_event))
    return Translator(server, request).whole(said)


async def stream(server: Server, client: HttpClient, request: Request) -> AsyncGenerator[Chunk]:
    """The answer's events as they arrive, several to a chunk if they came together."""
    route, body = order(server, request, stream=True)
    translator = Translator(server, request)
    lines = Lines(client.settings.max_event)
    exchange = client.request("POST", f"{root(server)}{route}", headers=headers(server), body=body)
    async with exchange as response:
        if response.status >= 300:
            raise await refusal(response, server)
        async with aclosing(_batches(response, lines)) as batches:
            async for batch in batches:
                chunk, error = _translated(translator, batch)
                exchange.whole = translator.finished
                if chunk is not None:
                    yield chunk
                    if request.direct is not None:
                        taker = taking(request.direct, lines, translator)
                        response.offer(taker, framed(request.passage, lines, translator))
                if error is not None:
                    raise error
                if translator.finished:
                    return
    raise UpstreamIncomplete("the Ollama server ended its answer without finishing it")


async def _batches(response: Response, lines: Lines) -> AsyncGenerator[list[bytes]]:
    """The lines that each read completes."""
    async for data in response:
        yield lines.feed(data)
    yield lines.end()


def _translated(
    translator: Translator, lines: list[bytes]
) -> tuple[Chunk | None, RelayError | None]:
    """What the lines say up to the answer's end, or up to an error, and the error."""
    if len(lines) == 1 and translator.begun:
        event = event_of(lines[0], translator)
        if event is not None:
            return Chunk(event, checked=True), None
    events: list[Event] = []
    error: RelayError | None = None
    for line in lines:
        try:
            events += translator.events(decoded(line))
        except RelayError as raised:
            error = raised
        if error is not None or translator.finished:
            break
    return (chunk_of(events) if events else None), error


async def document(
    server: Server,
    client: HttpClient,
    method: str,
    route: str,
    body: Mapping[str, Any] | None = None,
    *,
    patient: bool = False,
) -> dict[str, Any]:
    """A JSON object; `patient` waits as long as for an answer, while a model is being loaded.

    Raises the error that fits the status, UpstreamError.
    """
    settings = client.settings
    seconds = settings.answer_timeout if patient else settings.request_timeout
    exchange = client.request(
        method, f"{root(server)}{route}", headers=headers(server),
        body=b"" if body is None else orjson.dumps(body), first_byte=seconds, total=seconds,
    )  # fmt: skip
    async with exchange as response:
        if response.status >= 300:
            raise await refusal(response, server)
        return decoded(await response.read(DOCUMENT_LIMIT))
