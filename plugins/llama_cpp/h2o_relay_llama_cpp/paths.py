"""Which paths llama.cpp's server has, and the two that are translated.

All but those two stand below /v1 in OpenAI's, Anthropic's or Jina's shape (README of llama.cpp's
HTTP server); what a server was not started for, such as a reranker, it refuses with 501. /tokenize
and /detokenize are llama.cpp's own at its root: their fields are `content`, `add_special`,
`with_pieces` and `tokens`, and messages become a text by /apply-template.

Its /responses and /messages are left to the relay's own translation, as they were in October 2026.
The events of the former had no `content_index`, without which OpenAI's client cannot read them, and
it refuses `previous_response_id`. The latter passes over a tool that must be called and over
`output_format`, and begins a whole answer with the beginning that it was given once more. What
/messages/count_tokens counts is right.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson

from h2o_relay import openai_shape
from h2o_relay.errors import InvalidRequest, UpstreamBadResponse, from_response
from h2o_relay.hookspecs import steady
from h2o_relay.http import HttpClient
from h2o_relay.translated import answer, left_out, params_of, to_tokenize, tokenized
from h2o_relay.types import Call, Reply, Server, Target

from .remote import decoded

NATIVE = frozenset(
    {
        "/audio/transcriptions", "/chat/completions", "/chat/completions/input_tokens",
        "/completions", "/embeddings", "/messages/count_tokens", "/models", "/rerank",
    }
)  # fmt: skip
PATHS = NATIVE | {"/tokenize", "/detokenize"}
COUNTING = frozenset({"/chat/completions/input_tokens", "/messages/count_tokens"})
LIMIT = 64 * 2**20  # bytes of an answer: each token comes as an object of some 40
OF_TEXT = frozenset({"model", "prompt", "add_special_tokens", "return_token_strs"})
RENDERING = ("messages", "tools", "chat_template_kwargs", "add_generation_prompt")
OF_CHAT = frozenset(
    {*RENDERING, "model", "add_special_tokens", "continue_final_message", "return_token_strs"}
)


@steady
def target(server: Server, call: Call) -> Target | None:
    if call.path not in NATIVE:
        return None
    query = f"?{call.query}" if call.query else ""
    return Target(
        method=call.method, url=f"/v1{call.path}{query}", headers=call.headers, body=call.body
    )


@asynccontextmanager
async def forward(server: Server, client: HttpClient, call: Call) -> AsyncIterator[Reply]:
    """The reply to a call. Raises RelayError for what llama.cpp refuses of a translated one."""
    if call.path == "/tokenize":
        yield await _tokenize(server, client, call)
    elif call.path == "/detokenize":
        yield await _detokenize(server, client, call)
    else:
        async with openai_shape.forward(target, server, client, call) as reply:
            if reply.status == 500 and call.path in COUNTING:
                # What it cannot render (a picture, a tool without a name) is the request's fault.
                body = await openai_shape.beginning(reply.chunks)
                raise from_response(400, body, secret=server.key)
            yield reply


async def _tokenize(server: Server, client: HttpClient, call: Call) -> Reply:
    params = await params_of(call, client.settings.max_body)
    text, messages = to_tokenize(params)
    if messages is None:
        dropped = left_out(call, params, OF_TEXT)
        special = params.get("add_special_tokens") is not False
    else:
        dropped = left_out(call, params, OF_CHAT - _in_vain(params, messages))
        # The server cuts off what its tokenizer adds of itself, as it does for a chat.
        text, special = await _rendered(server, client, params), True
    wanted = params.get("return_token_strs") is True
    asked = {"content": text, "add_special": special, "parse_special": True, "with_pieces": wanted}
    found = (await _ask(server, client, "/tokenize", {**asked, **_model(params)})).get("tokens")
    if not isinstance(found, list):
        raise UpstreamBadResponse("the llama.cpp server's list of tokens is none")
    context = (await _about(server, client, params.get("model")))[0]
    if not wanted:
        return tokenized(found, context, None, dropped)
    try:
        ids, pieces = [token["id"] for token in found], [_text(token["piece"]) for token in found]
    except (KeyError, TypeError, ValueError):
        raise UpstreamBadResponse("the llama.cpp server's tokens are of a wrong shape") from None
    return tokenized(ids, context, pieces, dropped)


async def _detokenize(server: Server, client: HttpClient, call: Call) -> Reply:
    params = await params_of(call, client.settings.max_body)
    dropped = left_out(call, params, {"model", "tokens"})
    tokens = params.get("tokens")
    if not isinstance(tokens, list) or not all(type(one) is int for one in tokens):
        raise InvalidRequest("'tokens' must be an array of token ids.", param="tokens")
    words = (await _about(server, client, params.get("model")))[1]
    if words is not None and not all(0 <= one < words for one in tokens):
        # llama.cpp would fail with a 500 that looks like a fault of its own.
        raise InvalidRequest(
            f"'tokens' has a token id out of range: this model has {words}.", param="tokens"
        )
    found = await _ask(server, client, "/detokenize", {"tokens": tokens, **_model(params)})
    if not isinstance(found.get("content"), str):
        raise UpstreamBadResponse("the llama.cpp server's answer has no text")
    return answer({"prompt": found["content"]}, dropped)


def _in_vain(params: Mapping[str, Any], messages: list[Any]) -> set[str]:
    """Fields whose value llama.cpp does not go by: it always continues an assistant's last message,
    and cannot be told to add a second beginning to what a template made.
    """
    last = messages[-1] if messages else None
    continued = isinstance(last, dict) and last.get("role") == "assistant"
    unread = {"add_special_tokens": params.get("add_special_tokens") is True}
    unread["continue_final_message"] = continued and params.get("continue_final_message") is False
    unread["add_generation_prompt"] = continued and params.get("add_generation_prompt") is True
    return {name for name, in_vain in unread.items() if in_vain}


async def _rendered(server: Server, client: HttpClient, params: Mapping[str, Any]) -> str:
    """The conversation as llama.cpp's template writes it."""
    asked = {name: params[name] for name in RENDERING if params.get(name) is not None}
    if params.get("continue_final_message"):
        asked |= {"continue_final_message": True, "add_generation_prompt": False}
    found = await _ask(server, client, "/apply-template", {**asked, **_model(params)})
    if not isinstance(found.get("prompt"), str):
        raise UpstreamBadResponse("the llama.cpp server's template made no text")
    return str(found["prompt"])


async def _ask(
    server: Server, client: HttpClient, path: str, asked: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Raises RelayError. What a template cannot render is the request's fault, though llama.cpp
    says 500.
    """
    seconds = client.settings.request_timeout
    exchange = client.request(
        "POST", path, body=orjson.dumps(asked), headers={"content-type": "application/json"},
        first_byte=seconds, total=seconds,
    )  # fmt: skip
    async with exchange as response:
        if response.status == 500 and path == "/apply-template":
            raise from_response(400, await openai_shape.beginning(response), secret=server.key)
        if response.status >= 300:
            raise await openai_shape.refusal(response, server)
        return decoded(await response.read(LIMIT))


async def _about(server: Server, client: HttpClient, model: Any) -> tuple[int | None, int | None]:
    """Tokens of a model's context, and of its vocabulary, where the server says them."""
    found = await openai_shape.list_models(target, server, client)
    entry = next((one for one in found if one.id == model), found[0] if found else None)
    meta = entry.raw.get("meta") if entry is not None else None
    words = meta.get("n_vocab") if isinstance(meta, dict) else None
    known = type(words) is int and words > 0
    return (None if entry is None else entry.max_context), (words if known else None)


def _model(params: Mapping[str, Any]) -> dict[str, Any]:
    """A server of several models must be told which."""
    return {"model": params["model"]} if params.get("model") is not None else {}


def _text(piece: Any) -> str:
    """A token's text; bytes that are no character by themselves are escaped: `\\xf0`."""
    if isinstance(piece, str):
        return piece
    return bytes(piece).decode("utf-8", "backslashreplace")
