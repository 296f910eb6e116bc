"""Counting tokens: POST /tokenize for a text, /chat_tokenize (since 2.1) for messages."""

from __future__ import annotations

from typing import Any

import orjson

from h2o_relay.errors import UpstreamBadResponse
from h2o_relay.http import HttpClient
from h2o_relay.types import Request, Server

from . import failures
from .parameters import prompts_of
from .server_string import headers, root

CANNOT = frozenset({404, 405, 501})
"""An older server, or one whose model has no fast tokenizer."""
TEMPLATED = ("messages", "tools", "tool_choice", "tool_prompt", "guideline")
"""What a chat template makes its prompt of."""
SIZE_LIMIT = 64 * 2**20  # bytes: each token comes as an object of some 60


async def count(server: Server, client: HttpClient, request: Request) -> int | None:
    """Tokens of the prompt; of several prompts, together. None if the server cannot say."""
    if request.kind == "text" or request.prompt is not None:
        counts = [await of_text(server, client, text) for text in prompts_of(request)]
        known = [n for n in counts if n is not None]
        return sum(known) if len(known) == len(counts) else None
    asked = {name: request.params[name] for name in TEMPLATED if name in request.params}
    answer = await ask(server, client, "/chat_tokenize", asked)
    if answer is None:
        return None
    return _length(answer.get("tokenize_response") if isinstance(answer, dict) else None)


async def of_text(
    server: Server, client: HttpClient, text: str, truncate: int | None = None
) -> int | None:
    """Tokens of a text, cut to its last `truncate` ones if that is given."""
    asked = {"inputs": text, "parameters": {} if truncate is None else {"truncate": truncate}}
    answer = await ask(server, client, "/tokenize", asked)
    return None if answer is None else _length(answer)


async def ask(server: Server, client: HttpClient, path: str, body: Any) -> Any:
    """The answer, decoded; None if the server cannot say. Raises RelayError."""
    seconds = client.settings.request_timeout
    exchange = client.request(
        "POST", root(server.url) + path,
        headers={**headers(server), "content-type": "application/json"},
        body=orjson.dumps(body), first_byte=seconds, total=seconds,
    )  # fmt: skip
    async with exchange as response:
        if response.status in CANNOT:
            return None
        if response.status >= 300:
            raise await failures.refusal(response, server)
        data = await response.read(SIZE_LIMIT)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UpstreamBadResponse("the server's list of tokens is not JSON") from None


def _length(tokens: Any) -> int:
    if not isinstance(tokens, list):
        raise UpstreamBadResponse("the server's list of tokens is none")
    return len(tokens)
