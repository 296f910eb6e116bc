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

import orjson

from h2o_relay.errors import InvalidJSON, InvalidRequest, RequestTooLarge
from h2o_relay.http import HttpClient
from h2o_relay.types import Call, Reply, Server

from .address import headers, root
from .exchange import document
from .failures import nonsense

PATHS = frozenset({"/embeddings", "/responses"})
SAME = ("dimensions", "keep_alive", "options", "truncate")


@asynccontextmanager
async def forward(server: Server, client: HttpClient, call: Call) -> AsyncIterator[Reply]:
    """The reply to a call; raises RelayError where Ollama's own error needs translating."""
    if call.path == "/embeddings" and call.method == "POST":
        body = await _embeddings(server, client, await _params(client, call))
        sent = {"content-type": "application/json", "content-length": str(len(body))}
        yield Reply(status=200, headers=sent, chunks=_once(body))
        return
    query = f"?{call.query}" if call.query else ""
    exchange = client.request(
        call.method, f"{root(server)}/v1{call.path}{query}",
        headers={**call.headers, **_own_headers(server, call)}, body=call.body,
    )  # fmt: skip
    async with exchange as response:
        yield Reply(status=response.status, headers=response.headers, chunks=aiter(response))


async def _embeddings(server: Server, client: HttpClient, params: Mapping[str, Any]) -> bytes:
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
    return orjson.dumps(
        {
            "object": "list",
            "data": data,
            "model": params.get("model"),
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


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


async def _params(client: HttpClient, call: Call) -> Mapping[str, Any]:
    """The call's decoded body. Raises InvalidJSON, RequestTooLarge."""
    if call.params is not None:
        return call.params
    body = call.body
    if not isinstance(body, bytes):
        limit, pieces, size = client.settings.max_body, [], 0
        async for piece in body:
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise RequestTooLarge(f"the request is larger than {limit} bytes")
        body = b"".join(pieces)
    try:
        params = orjson.loads(body)
    except orjson.JSONDecodeError:
        params = None
    if not isinstance(params, dict):
        raise InvalidJSON("the request's body must be a JSON object")
    return params


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
