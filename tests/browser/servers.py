"""Models on scripted servers of OpenAI's shape, each of which answers in a way of its own."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson

from h2o_relay.testing.scripts import LAST, chunk, event, head
from h2o_relay.testing.scripts import json as said
from h2o_relay.testing.upstream import Answer, Received, ScriptedUpstream, until
from h2o_relay.testing.wire import OpenAIWire

STREAM = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
CONTEXT = 4096  # tokens
PATIENCE = 15.0  # seconds that a test waits for something to reach a server
Words = Callable[["Server", list[dict[str, Any]]], AsyncIterator[str]]
"""What a model says to these messages, piece by piece."""


class Server:
    """A model called `name`, alone on its server."""

    def __init__(self, name: str, words: Words) -> None:
        self.name = name
        self.words = words
        self.gate = asyncio.Event()
        """What `gated` waits for."""
        self.upstream = ScriptedUpstream(self._script)
        self._wire = OpenAIWire()

    @property
    def asked(self) -> list[list[dict[str, Any]]]:
        """The messages of every chat so far."""
        return [request.json()["messages"] for request in self.chats]

    @property
    def chats(self) -> list[Received]:
        """Requests for an answer that a page shows."""
        return [r for r in self.upstream.requests if r.method == "POST" and b'"stream":true' in
                r.body.replace(b" ", b"")]  # fmt: skip

    @property
    def left(self) -> list[Received]:
        """Those of them that were given up before their end."""
        return [request for request in self.chats if request.left_at is not None]

    @property
    def string(self) -> str:
        """The server string that means it."""
        return f"vllm_chat:{self.upstream.url}/v1"

    @property
    def entry(self) -> dict[str, Any]:
        """Its entry in a model lock."""
        return {"base_model": self.name, "inference_server": self.string}

    async def got(self, count: int) -> None:
        """Wait until so many chats have come."""
        await until(lambda: len(self.chats) >= count, within=PATIENCE)

    async def _script(self, request: Received, answer: Answer) -> None:
        if self._wire.is_listing(request):
            model = {"id": self.name, "object": "model", "max_model_len": CONTEXT}
            return await said({"object": "list", "data": [model]})(request, answer)
        if not request.path.endswith("/chat/completions"):
            return await self._wire.refusal(404, "not here")(request, answer)
        if not request.json().get("stream"):
            return await self._wire.reply(request, ["ok"])(request, answer)
        return await self._stream(request, answer)

    async def _stream(self, request: Received, answer: Answer) -> None:
        """Each piece as it comes, the role with the first one as vLLM has it, then the finish
        reason and the usage.
        """
        start, *end = self._wire.payloads(request, [])
        count = 0
        await answer.send(head(200, STREAM))
        async for word in self.words(self, request.json()["messages"]):
            if not count:
                await self._send(answer, start)
            count += 1
            await self._send(answer, self._wire.payloads(request, [word], None)[1])
        for payload in end:
            data = orjson.loads(payload)
            if data.get("usage"):
                data["usage"] = self._wire.usage(["."] * count)
            await self._send(answer, orjson.dumps(data))
        await answer.send(chunk(event(b"[DONE]")) + LAST)

    async def _send(self, answer: Answer, *payloads: bytes) -> None:
        for payload in payloads:
            await answer.send(chunk(event(payload)))


@contextlib.asynccontextmanager
async def opened(*servers: Server) -> AsyncIterator[None]:
    """The servers answer for the length of the block."""
    async with contextlib.AsyncExitStack() as stack:
        for server in servers:
            await stack.enter_async_context(server.upstream)
        yield


def text_of(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else content[0]["text"]


async def numbered(server: Server, messages: list[dict[str, Any]]) -> AsyncIterator[str]:
    """At once: which answer of this server it is, and to what."""
    yield f"Answer {len(server.chats)} of {server.name} to: "
    for word in re.findall(r"\s*\S+", text_of(messages[-1])):
        yield word


async def gated(server: Server, messages: list[dict[str, Any]]) -> AsyncIterator[str]:
    """A few words, and the rest when the gate is opened."""
    yield f"{server.name} begins"
    for number in range(3):
        yield f" {number}"
    await server.gate.wait()
    for word in (" and", " goes", " on", " to", " the", " end."):
        yield word


async def endless(server: Server, messages: list[dict[str, Any]]) -> AsyncIterator[str]:
    """A word every twentieth of a second, for as long as somebody listens."""
    number = 0
    while True:
        yield f"{number} "
        number += 1
        await asyncio.sleep(0.05)


def telling(*pieces: str) -> Words:
    """These pieces, whatever is said."""

    async def tell(server: Server, messages: list[dict[str, Any]]) -> AsyncIterator[str]:
        for piece in pieces:
            yield piece

    return tell
