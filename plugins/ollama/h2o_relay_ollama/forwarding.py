"""OpenAI's other paths: embeddings through Ollama's native route, the rest through its own `/v1`.

`/api/embed` by `EmbedRequest` and `EmbedResponse` of Ollama's docs/openapi.yaml; `/embeddings` by
OpenAI's API reference, whose base64 is of little-endian 32-bit floats.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from h2o_relay.errors import InvalidRequest
from h2o_relay.http import HttpClient
from h2o_relay.translated import answer, left_out, params_of
from h2o_relay.types import Call, Reply, Server

from .address import headers, root
from .exchange import document
from .failures import nonsense

SAME = ("dimensions", "keep_alive", "options", "truncate")
EMBEDDED = frozenset({*SAME, "model", "input", "encoding_format"})
HONOURED: Mapping[str, frozenset[str]] = {
    "/responses": frozenset(
        {
            "model", "input", "instructions", "tools", "stream", "temperature", "top_p",
            "max_output_tokens", "reasoning", "text",
        }
    ),
    "/messages": frozenset(
        {
            "model", "max_tokens", "messages", "system", "stream", "temperature", "top_p", "top_k",
            "stop_sequences", "tools", "thinking",
        }
    ),
    "/images/generations": frozenset({"model", "prompt", "size", "response_format"}),
}  # fmt: skip
"""What Ollama's documentation ("OpenAI compatibility", "Anthropic compatibility") says that it
reads; it passes over the rest without a word."""
PATHS = frozenset(
    {*HONOURED, "/embeddings", "/images/edits", "/audio/speech", "/audio/transcriptions"}
)
"""The newest came with 0.13.3 (/responses), 0.14 (/messages) and later; before, Ollama says 404."""


@asynccontextmanager
async def forward(server: Server, client: HttpClient, call: Call) -> AsyncIterator[Reply]:
    """The reply to a call; raises RelayError where Ollama's own error needs translating."""
    if call.path == "/embeddings" and call.method == "POST":
        params = await params_of(call, client.settings.max_body)
        dropped = left_out(call, params, EMBEDDED)
        yield answer(await _embeddings(server, client, params), dropped)
        return
    honoured = HONOURED.get(call.path)
    dropped = () if honoured is None else left_out(call, call.params or {}, honoured)
    query = f"?{call.query}" if call.query else ""
    exchange = client.request(
        call.method, f"{root(server)}/v1{call.path}{query}",
        headers={**call.headers, **_own_headers(server, call)}, body=call.body,
    )  # fmt: skip
    async with exchange as response:
        yield Reply(
            status=response.status, headers=response.headers, chunks=aiter(response),
            dropped=dropped,
        )  # fmt: skip


async def _embeddings(
    server: Server, client: HttpClient, params: Mapping[str, Any]
) -> dict[str, Any]:
    encoding = params.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise InvalidRequest("'encoding_format' is float or base64", param="encoding_format")
    # Ollama would leave out what does not fit, and tell nobody.
    body = {"model": params.get("model"), "input": _input(params.get("input")), "truncate": False}
    body |= {name: params[name] for name in SAME if params.get(name) is not None}
    said = await document(server, client, "POST", "/api/embed", body, patient=True)
    vectors = said.get("embeddings")
    if not isinstance(vectors, list) or not all(map(_is_vector, vectors)):
        raise nonsense("sent embeddings of a wrong shape")
    count = said.get("prompt_eval_count")
    tokens = count if type(count) is int else 0
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(vector, encoding)}
        for index, vector in enumerate(vectors)
    ]
    return {
        "object": "list",
        "data": data,
        "model": params.get("model"),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _input(given: Any) -> Any:
    several = isinstance(given, list) and given and all(isinstance(one, str) for one in given)
    if several or (isinstance(given, str) and given):
        return given
    raise InvalidRequest(
        "'input' must be a text or a list of texts: Ollama takes no tokens", param="input"
    )


def _encoded(vector: list[float], encoding: str) -> Any:
    if encoding == "float":
        return vector
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _is_vector(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, int | float) for one in value)


def _own_headers(server: Server, call: Call) -> dict[str, str]:
    """What Ollama is sent; the body keeps the type that the caller gave it (multipart)."""
    own = headers(server)
    if "content-type" in call.headers or not call.body:
        del own["content-type"]
    return own
