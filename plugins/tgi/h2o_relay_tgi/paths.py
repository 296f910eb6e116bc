"""/tokenize in vLLM's shape: by TGI's own for a text, by /chat_tokenize (since 2.1) for messages.

Of TGI's `SimpleToken` there are `id` and `text`. Special tokens are added to a text and not to what
a template made, and there is no field to say otherwise. TGI cannot turn tokens into text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from h2o_relay import openai_shape
from h2o_relay.errors import UpstreamBadResponse
from h2o_relay.http import HttpClient
from h2o_relay.translated import left_out, no_such_path, params_of, to_tokenize, tokenized
from h2o_relay.types import Call, Reply, Server

from . import info, messages, tokens

PATHS = frozenset({*messages.PATHS, "/tokenize"})
OF_TEXT = frozenset({"model", "prompt", "return_token_strs"})
OF_CHAT = frozenset({*tokens.TEMPLATED, "model", "return_token_strs"})


@asynccontextmanager
async def forward(server: Server, client: HttpClient, call: Call) -> AsyncIterator[Reply]:
    """The reply to a call. Raises RelayError for what TGI refuses of a translated one."""
    if call.path == "/tokenize":
        yield await _tokenize(server, client, call)
        return
    async with openai_shape.forward(messages.target, server, client, call) as reply:
        yield reply


async def _tokenize(server: Server, client: HttpClient, call: Call) -> Reply:
    params = await params_of(call, client.settings.max_body)
    text, conversation = to_tokenize(params)
    if conversation is None:
        dropped = left_out(call, params, OF_TEXT | _as_it_is(params, add_special_tokens=True))
        found = await tokens.ask(server, client, "/tokenize", {"inputs": text})
    else:
        as_it_is = _as_it_is(params, add_special_tokens=False, add_generation_prompt=True)
        dropped = left_out(call, params, OF_CHAT | as_it_is)
        asked = {n: params[n] for n in tokens.TEMPLATED if params.get(n) is not None}
        said = await tokens.ask(server, client, "/chat_tokenize", asked)
        found = said.get("tokenize_response") if isinstance(said, dict) else said
    if found is None:
        return no_such_path("it is too old, or its model has no fast tokenizer")
    try:
        ids, texts = [one["id"] for one in found], [one["text"] for one in found]
    except (KeyError, TypeError):
        raise UpstreamBadResponse("the server's list of tokens is none") from None
    (model,) = await info.list_models(server, client)
    wanted = params.get("return_token_strs") is True
    return tokenized(ids, model.max_context, texts if wanted else None, dropped)


def _as_it_is(params: Mapping[str, Any], **always: bool) -> set[str]:
    """The fields among these that ask for what TGI does in any case."""
    return {name for name, value in always.items() if params.get(name) is value}
