"""vLLM, as `vllm` and `vllm_chat`; any OpenAI-compatible server on a host and port will do.

The fields are h2oGPT's: `vllm[_chat]:HOST[:PORT[:PATH[:KEY]]]`, where HOST may be a URL. Without a
scheme http:// and /v1 are added. No environment variable is read for the key.
`vllm[_chat]:local:MODEL` is a vLLM that the relay starts itself (`local`, `engine`).
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext

from h2o_relay import openai_shape
from h2o_relay.hookspecs import hookimpl
from h2o_relay.http import HttpClient
from h2o_relay.serverstring import host_fields
from h2o_relay.types import (
    Call,
    Capabilities,
    Endpoint,
    Getter,
    Identified,
    Kind,
    Load,
    Progress,
    Reply,
    Request,
    Server,
)

from . import engine, local, paths
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
    kind: Kind = "chat" if prefix == "vllm_chat" else "text"
    started_here = local.parse(text, prefix, kind)
    if started_here is not None:
        return started_here
    reader, url, key = host_fields(text, prefix, EXAMPLE)
    return Server(
        plugin="vllm",
        url=url,
        api=kind,
        key=key or NO_KEY,
        shown=reader.shown,
    )


target = hookimpl(paths.target)


@hookimpl
def forward(server: Server, client: HttpClient, call: Call) -> AbstractAsyncContextManager[Reply]:
    return paths.forward(server, client, call)


@hookimpl
def connect(server: Server) -> AbstractAsyncContextManager[Endpoint | None]:
    return engine.serve(server) if local.OPTION in server.options else nullcontext()


@hookimpl
async def fetch(server: Server, progress: Progress) -> None:
    """vLLM gets its weights itself; whether there is a vLLM is said before anything is started."""
    if local.OPTION in server.options:
        await asyncio.to_thread(engine.Options.of, server)


@hookimpl
def capabilities(server: Server) -> Capabilities:
    return Capabilities(
        tokenizer=True, paths=paths.PATHS, continues_text=True, trims_text=True,
        tells_tokens={"return_token_ids": True},
    )  # fmt: skip


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
    """vLLM answers /version, and says in its model list who owns the models; where that wants a
    key, the names of its metrics tell it.
    """
    status, _, body = await get("/version")
    if status != 200 or b'"version"' not in body:
        return None
    status, _, body = await get("/v1/models")
    if status in (401, 403):
        status, _, body = await get("/metrics")
        known = status == 200 and b"vllm:" in body
    else:
        known = status == 200 and any(
            m.raw.get("owned_by") == "vllm" for m in openai_shape.read_models(body)
        )
    if not known:
        return None
    found = Server(
        plugin="vllm", url=f"{api.root(server)}/v1", api="chat", key=server.password or NO_KEY,
        headers=server.headers, shown=server.shown,
    )  # fmt: skip
    return Identified(server=found, rank=RANK)
