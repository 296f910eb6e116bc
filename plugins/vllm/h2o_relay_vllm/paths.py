"""Which paths vLLM's server has, and where: its tokenize API stands beside /v1.

The list is that of vLLM's documentation, "Online Serving". Others are passed on all the same: any
OpenAI-compatible server will do behind `vllm:`, and each says itself what it lacks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import orjson

from h2o_relay import openai_shape
from h2o_relay.hookspecs import steady
from h2o_relay.http import HttpClient
from h2o_relay.http_body import read_all
from h2o_relay.translated import no_such_path, whole
from h2o_relay.types import Call, Reply, Server, Target

from . import server as api

TOKENS: Mapping[str, str] = {"/tokenize": "count", "/detokenize": "prompt"}
"""The paths beside /v1, and what vLLM's answers have."""
PATHS = frozenset(
    {
        "/audio/transcriptions", "/audio/translations", "/chat/completions", "/completions",
        "/embeddings", "/messages", "/messages/count_tokens", "/models", "/rerank", "/responses",
        "/score", *TOKENS,
    }
)  # fmt: skip


@steady
def target(server: Server, call: Call) -> Target:
    query = f"?{call.query}" if call.query else ""
    base = api.root(server) if call.path in TOKENS else api.base(server)
    return Target(
        method=call.method,
        url=f"{base}{call.path}{query}",
        headers={**call.headers, **api.headers(server)},
        body=call.body,
    )


@asynccontextmanager
async def forward(server: Server, client: HttpClient, call: Call) -> AsyncIterator[Reply]:
    """The reply to a call. llama.cpp has a /tokenize too, with fields of its own: asked for vLLM's
    it answers 200 and no tokens, which must not pass for an answer.
    """
    async with openai_shape.forward(target, server, client, call) as reply:
        if call.path not in TOKENS or reply.status != 200:
            yield reply
            return
        body = await read_all(reply.chunks, api.COUNT_LIMIT)
        if _has(body, TOKENS[call.path]):
            yield replace(reply, chunks=whole(body))
        else:
            yield no_such_path("its answer is not that of vLLM's tokenize API")


def _has(body: bytes, name: str) -> bool:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(answer, dict) and name in answer
