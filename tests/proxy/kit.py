"""The API on a real socket in front of a scripted upstream, and what is said to it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.settings import Settings
from h2o_relay.testing.scripts import DONE, json, sse
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, Script, ScriptedUpstream, until
from h2o_relay_proxy.app import create_app
from h2o_relay_proxy.ports import bind
from h2o_relay_proxy.server import Server, running

from .raw_client import Client, Reply, error_of

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
MODEL = "m"
KEY = "sk-canary-0123456789"
MESSAGES = [{"role": "user", "content": "hi"}]


@dataclass
class Relay:
    """A running relay; `asked` is what reached the upstream besides looks at its models."""

    port: int
    kernel: Kernel
    settings: Settings
    upstream: ScriptedUpstream
    server: Server

    @property
    def connections(self) -> set[Any]:
        """The relay's own connections, as they are now and will be."""
        return self.server.server_state.connections

    @property
    def asked(self) -> list[Received]:
        return [r for r in self.upstream.requests if r.path != "/v1/models"]

    @property
    def unsent(self) -> int:
        """Bytes of answers that no client has taken yet, the kernel's buffers not counted."""
        return sum(c.transport.get_write_buffer_size() for c in self.connections)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def plays(self, script: Script) -> None:
        """What the upstream answers from now on; what it was asked so far is forgotten."""
        self.upstream.script = serving(script)
        self.upstream.requests.clear()
        self.upstream.gone.clear()

    @contextlib.asynccontextmanager
    async def client(self, receive_buffer: int | None = None) -> AsyncIterator[Client]:
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        except BaseException:
            sock.close()
            raise
        limit = 2**16 if receive_buffer is None else 1024
        client = Client(*await asyncio.open_connection(sock=sock, limit=limit))
        try:
            yield client
        finally:
            await client.close()

    async def ask(self, data: bytes) -> Reply:
        """One request on a connection of its own."""
        async with self.client() as client:
            await client.send(data)
            return await client.reply(head=data.startswith(b"HEAD "))

    async def hang_up(self) -> None:
        """Close the idle connections to the upstream. Raises AssertionError if one is not idle."""
        await self.calm()
        for connection in list(self.upstream.connections):
            connection.abandon()
        await until(lambda: not self.upstream.open, within=2)

    async def calm(self, within: float = 0.5) -> float:
        """Wait until the upstream answers nobody; how long that took, in seconds."""
        return await until(lambda: not self.upstream.answering, within=within)


def listing(*names: str) -> Script:
    """The list of these models, on a connection that is not used again."""
    data = {"object": "list", "data": [{"id": name} for name in names or (MODEL,)]}
    return json(data, headers={"connection": "close"})


def serving(script: Script, models: Script | None = None) -> Script:
    """`models` for the list of models, `script` for everything else."""
    models = models or listing()

    async def run(request: Received, answer: Answer) -> None:
        await (models if request.path == "/v1/models" else script)(request, answer)

    return run


@contextlib.asynccontextmanager
async def relay(
    script: Script | None = None,
    *,
    servers: Sequence[str | tuple[str, str | None]] | None = None,
    plugins: Plugins | None = None,
    models: Script | None = None,
    wait: bool = True,
    **changes: Any,
) -> AsyncIterator[Relay]:
    """`servers` may say `{url}` and `{port}` for the upstream's."""
    settings = quick(**changes)
    async with ScriptedUpstream(serving(script or sse(said(3)), models)) as upstream:
        given = servers if servers is not None else ["vllm_chat:{url}/v1"]
        places = {"url": upstream.url, "port": upstream.port}
        pairs = [pair if isinstance(pair, tuple) else (pair, None) for pair in given]
        filled = [(string.format(**places), name) for string, name in pairs]
        async with Kernel(settings, filled, plugins) as kernel:
            if wait:
                await kernel.settled(5)
            app = create_app(kernel, settings, kernel.instance)
            sock = bind("127.0.0.1", 0)
            port = sock.getsockname()[1]
            async with running(app, settings, sock) as server:
                yield Relay(port, kernel, settings, upstream, server)


def request(
    method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> bytes:
    """An HTTP/1.1 request's bytes."""
    sent = {"Host": "127.0.0.1", **(headers or {})}
    if body is not None:
        sent = {"Content-Type": "application/json", "Content-Length": str(len(body)), **sent}
    lines = [f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in sent.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")


def get(target: str, **headers: str) -> bytes:
    return request("GET", target, headers)


def post(body: Any, target: str = CHAT, headers: Mapping[str, str] | None = None) -> bytes:
    """`body` as bytes, or as data to be encoded."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return request("POST", target, headers, data)


def chat(stream: bool = True, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": MESSAGES, "stream": stream, **fields}


def said(count: int, finish: str | None = "stop", text: str = "tok{}") -> list[bytes]:
    """The payloads of a chat answer of so many tokens, `tok0`, `tok1` and so on."""
    events = [event({"content": text.format(n)}) for n in range(count)]
    return [*events, event({}, finish)] if finish else events


def event(delta: Any, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return orjson.dumps({"id": "c", "object": "chat.completion.chunk", "choices": [choice]})


def completion(text: str = "hello") -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    return {"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage}


def assert_intact(reply: Reply, payloads: Sequence[bytes]) -> None:
    """The upstream's payloads, then `[DONE]`, then a whole ending."""
    assert reply.status == 200, reply
    assert reply.payloads == [*payloads, b"[DONE]"]
    assert reply.body.count(DONE) == 1
    assert reply.complete


def assert_cut(reply: Reply, payloads: Sequence[bytes], code: str) -> dict[str, Any]:
    """The payloads, one error event, nothing that looks like success, and a whole ending."""
    assert reply.status == 200, reply
    *events, last = reply.payloads
    assert events == list(payloads)
    error = error_of(last)
    assert error["code"] == code, error
    assert DONE not in reply.body
    assert b'"finish_reason":"' not in b"".join(events)
    assert reply.complete
    return error


def assert_error(reply: Reply, status: int, code: str | None, type: str | None = None) -> None:
    """An error before the head."""
    assert reply.status == status, (reply.status, reply.body[:300])
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"]
    error = reply.error
    assert error["code"] == code, error
    assert type is None or error["type"] == type, error
