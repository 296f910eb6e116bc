"""The API on a real socket in front of a scripted upstream, and what is said to it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from h2o_relay.administration import Administration
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.pools import PoolSpec
from h2o_relay.settings import Settings
from h2o_relay.spec import ServerSpec
from h2o_relay.testing.scripts import DONE, json, sse
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, Script, ScriptedUpstream, until
from h2o_relay.types import UNTUNED, Tuning
from h2o_relay_proxy.app import create_app
from h2o_relay_proxy.ports import bind
from h2o_relay_proxy.server import Server, running

from .raw_client import Client, Reply, error_of

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
MODEL = "m"
POOL = "pool"
KEY = "sk-canary-0123456789"
NOTHING = json({"detail": "Not Found"}, 404, headers={"connection": "close"})
MESSAGES = [{"role": "user", "content": "hi"}]


@dataclass
class Relay:
    """A running relay; `asked` is what reached the upstream besides looks at its models."""

    port: int
    kernel: Kernel
    settings: Settings
    upstream: ScriptedUpstream
    server: Server
    others: list[ScriptedUpstream]
    """The upstreams after the first."""

    @property
    def connections(self) -> set[Any]:
        """The relay's own connections, as they are now and will be."""
        return self.server.server_state.connections

    @property
    def asked(self) -> list[Received]:
        return asked_of(self.upstream)

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
        for entry in self.kernel.entries:
            entry.health.ended(None)  # as after an answer: nothing is held against a server

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

    async def calm(self, within: float = 1) -> float:
        """Wait until the upstream answers nobody; how long that took, in seconds."""
        return await until(lambda: not self.upstream.answering, within=within)


def asked_of(upstream: ScriptedUpstream) -> list[Received]:
    """What reached an upstream besides looks at its models and at its load."""
    return [r for r in upstream.requests if r.method != "GET"]


def listing(*names: str) -> Script:
    """The list of these models, on a connection that is not used again."""
    data = {"object": "list", "data": [{"id": name} for name in names or (MODEL,)]}
    return json(data, headers={"connection": "close"})


def serving(script: Script, models: Script | None = None) -> Script:
    """`models` for the list of models, `script` for what is asked; no other GET is known."""
    models = models or listing()

    async def run(request: Received, answer: Answer) -> None:
        if request.path == "/v1/models":
            await models(request, answer)
        else:
            await (NOTHING if request.method == "GET" else script)(request, answer)

    return run


@contextlib.asynccontextmanager
async def relay(
    script: Script | None = None,
    *,
    servers: Sequence[str | tuple[str, str | None] | ServerSpec] | None = None,
    plugins: Plugins | None = None,
    models: Script | None = None,
    wait: bool = True,
    others: Sequence[Script] = (),
    pools: Sequence[PoolSpec] = (),
    **changes: Any,
) -> AsyncIterator[Relay]:
    """`servers` may say `{url}` and `{port}` for the upstream's, and `{url1}`, `{url2}` ... for
    those that play `others`.
    """
    settings = quick(**changes)
    async with contextlib.AsyncExitStack() as stack:
        upstreams = [
            await stack.enter_async_context(ScriptedUpstream(serving(one, models)))
            for one in (script or sse(said(3)), *others)
        ]
        given = servers if servers is not None else ["vllm_chat:{url}/v1"]
        places = {"url": upstreams[0].url, "port": upstreams[0].port}
        places |= {f"url{number}": one.url for number, one in enumerate(upstreams)}
        filled = [
            replace(spec, server=str(spec.server).format(**places)) for spec in map(spec_of, given)
        ]
        async with Kernel(settings, filled, plugins, pools) as kernel:
            if wait:
                await kernel.settled(20)
            admin = Administration(kernel) if settings.admin_pass else None
            app = create_app(kernel, settings, kernel.instance, admin)
            sock = bind("127.0.0.1", 0)
            port = sock.getsockname()[1]
            async with running(app, settings, sock) as server:
                yield Relay(port, kernel, settings, upstreams[0], server, upstreams[1:])


def spec_of(server: str | tuple[str, str | None] | ServerSpec) -> ServerSpec:
    if isinstance(server, ServerSpec):
        return server
    string, name = server if isinstance(server, tuple) else (server, None)
    return ServerSpec(server=string, base_model=name)


@contextlib.asynccontextmanager
async def pooled(
    *scripts: Script, pool: Mapping[str, Any] | None = None, tuning: Tuning = UNTUNED,
    **changes: Any,
) -> AsyncIterator[Relay]:  # fmt: skip
    """A relay whose pool `pool` is a server of each script, in this order: `a`, `b` and so on.
    `pool` says what else there is to a `PoolSpec`.
    """
    names = [chr(ord("a") + number) for number in range(len(scripts))]
    spec = PoolSpec(name=POOL, members=tuple(names), **{"strategy": "priority", **(pool or {})})
    servers = [
        ServerSpec(server=f"vllm_chat:{{url{number}}}/v1", base_model=name, tuning=tuning)
        for number, name in enumerate(names)
    ]
    first, *others = scripts
    async with relay(first, servers=servers, others=others, pools=[spec], **changes) as running:
        yield running


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
