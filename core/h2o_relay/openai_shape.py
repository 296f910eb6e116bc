"""The default hooks for servers that speak OpenAI's shape: bytes up, bytes down.

Field names and routes are those of OpenAI's API reference; what vLLM and llama.cpp add to a model's
entry (`max_model_len`, `meta.n_ctx`) is read where it is there.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

import orjson

from . import ways
from .as_text import ChatEvents, chat_completion, text_params
from .chunks import Chunk, Completion
from .continuing import with_beginning
from .errors import (
    InvalidRequest,
    RelayError,
    UnknownURL,
    UpstreamBadResponse,
    UpstreamError,
    UpstreamTimeout,
    error_object,
    from_error_object,
    from_response,
)
from .frames import offer
from .http import HttpClient, Response, check_head
from .pattern import Pattern
from .splice import with_model
from .sse import Splitter
from .types import Call, Kind, Model, Reply, Request, Server, Target

Find = Callable[[Server, Call], Target | None]
"""A plugin's `target` hook."""
PATHS = {"chat": "/chat/completions", "text": "/completions"}
ERROR_LIMIT = 64 * 1024  # bytes read of an error's body
LIST_LIMIT = 8 * 2**20  # bytes of a model list; OpenRouter's is over 1 MiB
RELAY = b"x-h2o-backend"
"""A header that each answer of another relay has."""
NOT_OFFERED = frozenset({404, 405, 501})


def request_body(request: Request) -> bytes:
    """The JSON to send: the caller's own bytes wherever that is possible."""
    params, model, body = request.params, request.deployment.model, request.body
    if request.prompt is not None:
        return orjson.dumps(text_params(request))
    if request.continue_from is not None:
        return orjson.dumps({**with_beginning(params, request.continue_from), "model": model})
    if body is None:
        return orjson.dumps({**params, "model": model})
    return body if params.get("model") == model else with_model(body, params, model)


async def stream(
    find: Find, server: Server, client: HttpClient, request: Request
) -> AsyncIterator[Chunk]:
    """The upstream's events as they arrive, several to a chunk if they came together."""
    target = generation_target(find, server, request)
    exchange = client.request(target.method, target.url, headers=target.headers, body=target.body)
    limit = client.settings.max_event
    splitter, pattern = Splitter(limit), Pattern()
    as_chat = chat_shape(request)
    async with exchange as response:
        if response.status >= 300:
            raise await refusal(response, server)
        if not media_type(response).startswith("text/event-stream"):
            raise await not_a_stream(response, server)
        pass_note(request, response)
        async for data in response:
            if len(data) <= limit and splitter.between and pattern.fits(data):
                yield Chunk(data, checked=True)
                continue
            events = splitter.feed(data)
            if splitter.done:
                exchange.whole = True
            if events and as_chat is not None:
                converted, wrong = as_chat(Chunk(events))
                if converted is not None:
                    yield converted
                if wrong is not None:
                    raise wrong
            elif events:
                yield Chunk(events)
                pattern.learn(events)  # the kernel asks for more: it found them good
            if request.direct is not None:
                offer(response, request, splitter, pattern, limit)
            if splitter.error is not None:
                raise splitter.error
            if splitter.done:
                return


async def generate(find: Find, server: Server, client: HttpClient, request: Request) -> Completion:
    """The upstream's whole answer, byte for byte."""
    kind = request.kind if request.prompt is None else "text"
    known = client.ways.get((find, id(server), kind))
    response = await (
        _asked_anew(find, server, client, request, kind)
        if known is None
        else known[0].send(request_body(request))
    )
    try:
        if response.status >= 300 or response.encoded:
            check_head(response)
            if response.status >= 300:
                raise await refusal(response, server)
        limit = client.settings.max_event
        body = response.ready(limit)
        if body is None:
            try:
                body = await response.read(limit)
            except RelayError as error:
                error.begun = True
                raise
        if response.header(RELAY):
            pass_note(request, response)
    finally:
        response.finish(whole=False)
    completion = Completion(body, checked_answer(body, server))
    return completion if kind == request.kind else chat_completion(completion)


async def _asked_anew(
    find: Find, server: Server, client: HttpClient, request: Request, kind: Kind
) -> Response:
    """Ask where `target` says, and keep the way there for those after it."""
    call, settings = generation_call(request), client.settings
    body = call.body
    target = offered(find, server, call)
    limits = (settings.answer_timeout, settings.idle_timeout, settings.answer_timeout)
    if target.body is body:
        ways.keep(find, server, client, kind, target, limits)
    return await client.open(target.method, target.url, target.headers, target.body, limits)


def chat_shape(
    request: Request,
) -> Callable[[Chunk], tuple[Chunk | None, RelayError | None]] | None:
    """What turns the chunks of a rendered conversation into a chat's; None where nothing must."""
    if request.prompt is None or request.kind == "text":
        return None
    return ChatEvents().chunk


def pass_note(request: Request, response: Response) -> None:
    """Behind another relay: what it told us is told our caller."""
    if not response.header(RELAY):
        return
    for name in ("trimmed", "trimmed-by", "limited", "translated", "usage"):
        value = response.header(b"x-h2o-" + name.encode())
        if value:
            request.tell(name, value)
    request.drop(*told_dropped(response))


def told_dropped(response: Response) -> tuple[str, ...]:
    """Behind another relay: the fields that it says are not honoured."""
    told = response.header(RELAY) and response.header(b"x-h2o-dropped-params")
    return tuple(name.strip() for name in told.split(",") if name.strip())


async def list_models(find: Find, server: Server, client: HttpClient) -> list[Model]:
    """GET /models. Raises the error that fits, UpstreamBadResponse if it is no model list."""
    target = find(server, Call(method="GET", path="/models"))
    if target is None:
        return []
    seconds = client.settings.request_timeout
    exchange = client.request(
        target.method, target.url, headers=target.headers, first_byte=seconds, total=seconds
    )
    async with exchange as response:
        if response.status in NOT_OFFERED:
            return []
        if response.status >= 300:
            raise await refusal(response, server)
        body = await response.read(LIST_LIMIT)
    return read_models(body)


@asynccontextmanager
async def forward(
    find: Find, server: Server, client: HttpClient, call: Call
) -> AsyncIterator[Reply]:
    """Any other path, both bodies streamed; the status is passed on as it is."""
    target = find(server, call)
    if target is None:
        raise UnknownURL(f"this server does not offer /v1{call.path}")
    settings = client.settings
    streams = call.params is not None and call.params.get("stream") is True
    patience = settings.first_byte_timeout if streams else settings.answer_timeout
    exchange = client.request(
        target.method, target.url, headers=target.headers, body=target.body, first_byte=patience
    )
    async with exchange as response:
        yield Reply(
            status=response.status, headers=response.headers, chunks=aiter(response),
            dropped=told_dropped(response),
        )  # fmt: skip


def generation_target(find: Find, server: Server, request: Request) -> Target:
    """Where a generation goes. Raises InvalidRequest if the server has no such API."""
    return offered(find, server, generation_call(request))


def generation_call(request: Request) -> Call:
    return Call(
        method="POST",
        path=PATHS["text" if request.prompt is not None else request.kind],
        headers={"content-type": "application/json"},
        body=request_body(request),
        params=request.params,
    )


def offered(find: Find, server: Server, call: Call) -> Target:
    """Raises InvalidRequest if there is no such path."""
    target = find(server, call)
    if target is None:
        raise InvalidRequest(f"this model's server does not offer /v1{call.path}")
    return target


async def refusal(response: Response, server: Server) -> RelayError:
    """The error for a response of status 300 and above."""
    body = await beginning(response)
    retry_after = seconds_to_wait(response.headers.get("retry-after"))
    return from_response(response.status, body, retry_after=retry_after, secret=server.key)


async def beginning(chunks: AsyncIterable[bytes]) -> bytes:
    """As much of an error's body as is read; one that breaks off is no error of its own."""
    pieces, size = [], 0
    try:
        async for data in chunks:
            pieces.append(data)
            size += len(data)
            if size >= ERROR_LIMIT:
                break
    except (UpstreamError, UpstreamTimeout):
        pass  # the status says enough
    return b"".join(pieces)[:ERROR_LIMIT]


async def not_a_stream(response: Response, server: Server) -> RelayError:
    """The error for a 200 that is no event stream: often a JSON error."""
    if media_type(response).startswith("application/json"):
        error = error_object(await response.read(ERROR_LIMIT))
        if error.get("message"):
            return from_error_object(error, server.key)
    return UpstreamBadResponse("the upstream server did not answer with an event stream")


def media_type(response: Response) -> str:
    """The Content-Type, lower-case; "" if there is none."""
    return response.header(b"content-type").lower()


def checked_answer(body: bytes, server: Server) -> dict[str, Any]:
    """A whole answer decoded. Raises UpstreamBadResponse, or the error that the body is."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamBadResponse("the upstream server's answer is not JSON") from None
    # What orjson makes is of these very classes.
    if type(data) is dict and type(choices := data.get("choices")) is list:
        for choice in choices:
            if type(choice) is not dict:
                break
            message, text = choice.get("message"), choice.get("text")
            if not (message is None or type(message) is dict):
                break
            if not (text is None or type(text) is str):
                break
        else:
            return data
    error = error_object(body)
    if error.get("message"):
        raise from_error_object(error, server.key)
    raise UpstreamBadResponse("the upstream server's answer has no choices")


def read_models(body: bytes) -> list[Model]:
    """The models in a `/models` body: OpenAI's `{"data": [...]}` or a bare list. Ollama's `data`
    is null while it has none.
    """
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamBadResponse("the upstream server's model list is not JSON") from None
    entries = data.get("data") if isinstance(data, dict) else data
    if entries is None and isinstance(data, dict) and data.get("object") == "list":
        entries = []
    if not isinstance(entries, list):
        raise UpstreamBadResponse("the upstream server's model list has no entries")
    named = [e for e in entries if isinstance(e, dict) and isinstance(e.get("id"), str) and e["id"]]
    return [Model(id=e["id"], max_context=context_length(e), raw=e) for e in named]


def context_length(entry: Mapping[str, Any]) -> int | None:
    """A model's context in tokens, by the names that servers use for it."""
    meta = entry.get("meta")
    places = [entry, meta if isinstance(meta, dict) else {}]
    for name in ("max_model_len", "context_length", "context_window", "n_ctx"):
        for place in places:
            value = place.get(name)
            if type(value) is int and value > 0:
                return value
    return None


def seconds_to_wait(header: str | None) -> float | None:
    """A Retry-After header in seconds: a number or an HTTP date (RFC 9110, 10.2.3)."""
    if header is None:
        return None
    try:
        seconds = float(header)
        return max(0.0, seconds) if isfinite(seconds) else None
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
