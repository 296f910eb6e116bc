"""Text completion by TGI's own API: POST /generate and /generate_stream.

Closing the connection stops the server: its router drops a request whose client is gone.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson

from h2o_relay.chunks import END, PREFIX
from h2o_relay.errors import RelayError, UpstreamBadResponse
from h2o_relay.http import Exchange, HttpClient, Response
from h2o_relay.openai_shape import media_type
from h2o_relay.sse import Splitter
from h2o_relay.types import Chunk, Completion, Request, Server

from . import answers, failures, tokens
from .fields import MESSAGES_ONLY, asked_in_vain
from .parameters import generate_body, prompts_of, wants_logprobs
from .server_string import headers, root
from .stops import cut_at_stop
from .streaming import Choice


@dataclass(frozen=True, slots=True)
class Whole:
    """One choice of an answer that was not streamed."""

    choice: dict[str, Any]
    text: str
    finish_reason: str
    prompt_tokens: int | None
    tokens: int


async def generate(server: Server, client: HttpClient, request: Request) -> Completion:
    """The whole answer: a choice for each prompt, asked for at the same time."""
    _report(request)
    asking = [_ask(server, client, request, prompt) for prompt in prompts_of(request)]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in asking]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    found = [task.result() for task in tasks]
    prompt_tokens = _sum([one.prompt_tokens for one in found])
    spent = sum(one.tokens for one in found)
    completion = Completion.of(
        [one.text for one in found],
        id=_new_id(request),
        model=request.deployment.model,
        kind=request.kind,
        finish_reasons=[one.finish_reason for one in found],
        usage=None if prompt_tokens is None else answers.usage(prompt_tokens, spent),
    )
    if not any(one.choice for one in found):
        return completion
    for choice, one in zip(completion.data["choices"], found, strict=True):
        choice |= one.choice
    return Completion(orjson.dumps(completion.data), completion.data)


async def _ask(server: Server, client: HttpClient, request: Request, prompt: str) -> Whole:
    limit = client.settings.answer_timeout
    exchange = _post(server, client, "/generate", request, prompt, first_byte=limit, total=limit)
    async with exchange as response:
        if response.status >= 300:
            raise await failures.refusal(response, server)
        counted = response.header(b"x-prompt-tokens")
        body = await response.read(client.settings.max_event)
    answer = answers.decoded(body)
    text, details = answer.get("generated_text"), answer.get("details")
    if not isinstance(text, str):
        raise _no_answer(answer, server)
    reason = answers.finish_reason(details)
    assert isinstance(details, dict)  # or it would have no finish reason
    shown = cut_at_stop(request, text)
    if counted.isdecimal():
        prompt_tokens: int | None = int(counted)
    else:
        prompt_tokens = len(details.get("prefill") or ()) or await _count(
            server, client, request, prompt
        )
    return Whole(
        choice=_extras(request, details, shown, prompt),
        text=_echoed(request, prompt) + shown,
        finish_reason=reason if shown == text else "stop",
        prompt_tokens=prompt_tokens,
        tokens=answers.count(details.get("generated_tokens")) or 0,
    )


def _extras(request: Request, details: dict[str, Any], shown: str, prompt: str) -> dict[str, Any]:
    """What a choice has beside its text, where the caller wants it."""
    found: dict[str, Any] = {}
    if wants_logprobs(request):
        pairs = answers.within(answers.pairs_of(details), shown)
        offset = len(_echoed(request, prompt))
        found["logprobs"] = answers.logprobs(request.kind, pairs, offset)
    if request.params.get("details") or request.params.get("decoder_input_details"):
        found["details"] = details
    return found


async def stream(
    server: Server, client: HttpClient, request: Request
) -> AsyncGenerator[Chunk, None]:
    """The answer as it comes; of several prompts, one after the other."""
    _report(request)
    id = _new_id(request)
    prompt_counts: list[int | None] = []
    spent = 0
    for index, prompt in enumerate(prompts_of(request)):
        choice = Choice(request, server, id, index, _echoed(request, prompt))
        async with aclosing(_events(server, client, request, prompt)) as events:
            async for event in events:
                for chunk in choice.take(event):
                    yield chunk
                if choice.over:
                    break
        if not choice.over:
            return  # cut short: the kernel misses the finish reason, and says so
        spent += choice.tokens
        if _wants_usage(request):
            known = choice.prompt_tokens
            prompt_counts.append(known or await _count(server, client, request, prompt))
    total = _sum(prompt_counts)
    if prompt_counts and total is not None:
        model, kind = request.deployment.model, request.kind
        yield Chunk.of(None, id=id, model=model, kind=kind, usage=answers.usage(total, spent))


async def _events(
    server: Server, client: HttpClient, request: Request, prompt: str
) -> AsyncGenerator[dict[str, Any], None]:
    """The events of one stream. TGI sends no [DONE]: the last one has the details."""
    exchange = _post(server, client, "/generate_stream", request, prompt)
    splitter = Splitter(client.settings.max_event)
    async with exchange as response:
        if response.status >= 300:
            raise await failures.refusal(response, server)
        if not media_type(response).startswith("text/event-stream"):
            raise await _not_a_stream(response, server)
        async for data in response:
            for event in splitter.feed(data).split(END):
                if event:
                    found = answers.decoded(event.removeprefix(PREFIX))
                    exchange.whole = found.get("details") is not None
                    yield found
            if splitter.error is not None:
                raise splitter.error


def _report(request: Request) -> None:
    """Say which fields /generate lacks."""
    request.drop(*asked_in_vain(request.params, MESSAGES_ONLY))
    if request.kind == "chat" and request.params.get("echo"):
        request.drop("echo")


def _post(
    server: Server, client: HttpClient, path: str, request: Request, prompt: str, **limits: float
) -> Exchange:
    return client.request(
        "POST", root(server.url) + path,
        headers={**headers(server), "content-type": "application/json"},
        body=generate_body(request, prompt), **limits,
    )  # fmt: skip


async def _count(server: Server, client: HttpClient, request: Request, prompt: str) -> int | None:
    """Tokens of a prompt, for servers that do not say it with their answer."""
    try:
        return await tokens.of_text(server, client, prompt, request.params.get("truncate"))
    except RelayError:
        return None  # the answer is there and is good, only its usage stays unknown


def _no_answer(answer: dict[str, Any], server: Server) -> RelayError:
    if answer.get("error") is not None:
        return failures.in_stream(answer, server)
    return UpstreamBadResponse("the upstream server's answer has no text")


async def _not_a_stream(response: Response, server: Server) -> RelayError:
    if media_type(response).startswith("application/json"):
        answer = answers.decoded(await response.read(2**16))
        if answer.get("error") is not None:
            return failures.in_stream(answer, server)
    return UpstreamBadResponse("the upstream server did not answer with an event stream")


def _wants_usage(request: Request) -> bool:
    options = request.params.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _echoed(request: Request, prompt: str) -> str:
    return prompt if request.kind == "text" and request.params.get("echo") else ""


def _sum(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _new_id(request: Request) -> str:
    return f"{'chatcmpl' if request.kind == 'chat' else 'cmpl'}-{secrets.token_hex(12)}"
