"""Parrot servers for h2o relay: an example of a plugin for a protocol that is not OpenAI's.

The README has the protocol. The relay opens the connections and knows when to close them; a plugin
only translates.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import uuid4

import orjson

from h2o_relay.chunks import Chunk, Completion
from h2o_relay.errors import (
    RelayError,
    UpstreamBadResponse,
    UpstreamIncomplete,
    from_error_object,
    from_response,
)
from h2o_relay.hookspecs import hookimpl
from h2o_relay.openai_shape import beginning, seconds_to_wait
from h2o_relay.serverstring import Reader
from h2o_relay.types import Capabilities, Model, Request, Server

PREFIX = "parrot"
EXAMPLE = "parrot:aviary.example:7375:KEY"
PORT = 7375
LIMIT = 2**20  # bytes of an answer or of one line


@hookimpl
def parse_server_string(text: str) -> Server | None:
    if text.split(":", 1)[0] != PREFIX:
        return None
    reader = Reader(text, PREFIX, EXAMPLE, secret_from=2)
    url = reader.url("http")
    if url is None:
        raise reader.refuse("a host is missing")
    if not reader.took_port:
        reader.skip("a port is a number from 1 to 65535")
        url = f"{url}:{PORT}"
    key = reader.secret()
    reader.end()
    return Server(plugin="parrot", url=url, api="chat", key=key, shown=reader.shown)


@hookimpl
def capabilities() -> Capabilities:
    return Capabilities(
        kinds=frozenset({"chat"}),
        fields=frozenset({"model", "messages", "stream", "max_tokens"}),
    )


@hookimpl
async def list_models(server: Server, client: Any) -> list[Model]:
    async with client.request("GET", f"{server.url}/birds", headers=_headers(server)) as response:
        if response.status != 200:
            raise await _refusal(server, response)
        birds = _object(await response.read(LIMIT)).get("birds")
    if not isinstance(birds, list):
        raise UpstreamBadResponse("the parrot server lists no birds")
    return [Model(id=str(bird)) for bird in birds]


@hookimpl
async def generate(server: Server, client: Any, request: Request) -> Completion:
    async with _speak(server, client, request, flow=False) as response:
        if response.status != 200:
            raise await _refusal(server, response)
        spoken = _object(await response.read(LIMIT))
    if "error" in spoken:
        raise from_error_object({"message": str(spoken["error"])}, server.key)
    if not isinstance(spoken.get("words"), str):
        raise UpstreamBadResponse("the parrot server's answer has no words")
    if not spoken.get("end"):
        raise UpstreamIncomplete("the parrot server did not end its answer")
    return Completion.of(
        [spoken["words"]],
        id=_new_id(),
        model=request.deployment.model,
        finish_reasons=[spoken["end"]],
    )


@hookimpl
async def stream(server: Server, client: Any, request: Request) -> AsyncIterator[Chunk]:
    about: dict[str, Any] = {"id": _new_id(), "model": request.deployment.model}
    async with _speak(server, client, request, flow=True) as response:
        if response.status != 200:
            raise await _refusal(server, response)
        async for line in _lines(response):
            said = _object(line)
            if "error" in said:
                raise from_error_object({"message": str(said["error"])}, server.key)
            if said.get("end"):
                yield Chunk.of("", **about, finish_reason=said["end"])
            else:
                yield Chunk.of(str(said.get("word", "")), **about)


def _speak(server: Server, client: Any, request: Request, *, flow: bool) -> Any:
    order = {
        "bird": request.deployment.model,
        "say": _last_words(request.params),
        "words": request.params.get("max_tokens"),
        "flow": flow,
    }
    return client.request(
        "POST", f"{server.url}/speak", headers=_headers(server), body=orjson.dumps(order)
    )


def _headers(server: Server) -> dict[str, str]:
    headers = {"content-type": "application/json"}
    return {**headers, "x-perch-key": server.key} if server.key else headers


def _last_words(params: Mapping[str, Any]) -> str:
    """The text of the last message, which is all that a parrot listens to."""
    content = params["messages"][-1].get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


async def _lines(response: Any) -> AsyncIterator[bytes]:
    """Whole lines, however the bytes arrive. What follows the last line break is no line."""
    rest = b""
    async for data in response:
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > LIMIT:
            raise UpstreamBadResponse("the parrot server sent a line without an end")
        for line in lines:
            if line:
                yield line


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UpstreamBadResponse("the parrot server did not answer in JSON") from None
    if not isinstance(found, dict):
        raise UpstreamBadResponse("the parrot server answered in JSON of a wrong shape")
    return found


async def _refusal(server: Server, response: Any) -> RelayError:
    body = await beginning(response)
    wait = seconds_to_wait(response.headers.get("retry-after"))
    return from_response(response.status, body, retry_after=wait, secret=server.key)


def _new_id() -> str:
    return f"parrot-{uuid4().hex[:12]}"
