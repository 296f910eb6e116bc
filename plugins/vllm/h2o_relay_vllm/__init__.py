"""vLLM, as `vllm` and `vllm_chat`; any OpenAI-compatible server on a host and port will do.

The fields are h2oGPT's: `vllm[_chat]:HOST[:PORT[:PATH[:KEY]]]`, where HOST may be a URL. Without a
scheme http:// and /v1 are added. No environment variable is read for the key.
"""

from __future__ import annotations

import orjson

from h2o_relay.hookspecs import hookimpl
from h2o_relay.http import HttpClient
from h2o_relay.serverstring import host_fields
from h2o_relay.types import (
    Call,
    Capabilities,
    Getter,
    Identified,
    Load,
    Request,
    Server,
    Target,
)

from . import server as api

PREFIXES = ("vllm", "vllm_chat")
NO_KEY = "EMPTY"
"""What OpenAI's clients are told to send where no key is needed; h2oGPT sends it too."""
EXAMPLE = "vllm_chat:http://192.168.1.46:8000/v1"
RANK = 50
FRAGMENT = 6
"""Characters of a stop string that are taken for its beginning at the end of an answer."""


@hookimpl
def parse_server_string(text: str) -> Server | None:
    prefix = text.split(":", 1)[0].strip()
    if prefix not in PREFIXES:
        return None
    reader, url, key = host_fields(text, prefix, EXAMPLE)
    return Server(
        plugin="vllm",
        url=url,
        api="chat" if prefix == "vllm_chat" else "text",
        key=key or NO_KEY,
        shown=reader.shown,
    )


@hookimpl
def target(server: Server, call: Call) -> Target:
    query = f"?{call.query}" if call.query else ""
    return Target(
        method=call.method,
        url=f"{(server.url or '').rstrip('/')}{call.path}{query}",
        headers={**call.headers, "authorization": f"Bearer {server.key}", **server.headers},
        body=call.body,
    )


@hookimpl
def capabilities(server: Server) -> Capabilities:
    return Capabilities(tokenizer=True)


@hookimpl
async def count_tokens(server: Server, client: HttpClient, request: Request) -> int | None:
    return await api.count_tokens(server, client, request)


@hookimpl
async def load(server: Server, client: HttpClient) -> Load:
    return await api.load(server, client)


@hookimpl
def fix_text(server: Server, request: Request, text: str, final: bool) -> str:
    """Models that end at the token limit, or mistype a marker, leave the beginning of a stop string
    at the end: h2oGPT cuts vLLM's answers there too.
    """
    while True:
        cut = min((_cut_at(text, stop) for stop in request.stops), default=len(text))
        if cut == len(text):
            return text
        text = text[:cut]


def _cut_at(text: str, stop: str) -> int:
    """Where the text ends without the beginning of this stop string."""
    for size in range(len(stop) - 1, FRAGMENT - 1, -1):
        if text.endswith(stop[:size]):
            return len(text) - size
    return len(text)


@hookimpl
async def identify(server: Server, get: Getter) -> Identified | None:
    """vLLM answers /version, and says in its model list who owns the models."""
    status, _, body = await get("/version")
    if status != 200 or b'"version"' not in body:
        return None
    status, _, body = await get("/v1/models")
    if status != 200 or not any(m.get("owned_by") == "vllm" for m in orjson.loads(body)["data"]):
        return None
    base = (server.url or "").rstrip("/")
    return Identified(
        server=Server(
            plugin="vllm", url=f"{base}/v1", api="chat", key=server.password or NO_KEY,
            headers=server.headers, shown=server.shown,
        ),
        rank=RANK,
    )  # fmt: skip
