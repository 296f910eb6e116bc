"""A stream whose rest comes from another server says so in a comment, which clients pass by."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from h2o_relay.chunks import Chunk
from h2o_relay.kernel_api import KernelAPI
from h2o_relay.sse import Splitter
from h2o_relay.testing.scripts import event
from h2o_relay.testing.settings import quick
from h2o_relay_proxy.app import create_app
from h2o_relay_proxy.ports import bind
from h2o_relay_proxy.server import running
from h2o_relay_proxy.telling import gone_on

from .kit import Relay, chat, post, said

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Answered:
    """An answer of four events, of which each server of `servers` but the first has two."""

    def __init__(self, servers: list[str]) -> None:
        self.deployment, self.dropped, self.notes = None, (), None
        self.tries: Any = SimpleNamespace(
            resumed=0,
            count=1,
            server=servers[0],
            reason="priority",
            queued=0.0,
            begun_at=0.0,
            started=0.0,
            spent=0.0,
        )
        self._servers = servers

    def onto(self, *write: object) -> None:
        """Everything is a chunk."""

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        tries, servers = self.tries, self._servers
        for number, payload in enumerate(said(3)):
            if number and number < len(servers):
                tries.resumed, tries.count, tries.server = number, number + 1, servers[number]
            yield Chunk(event(payload))


async def streamed(*servers: str) -> bytes:
    """What a client gets of such an answer."""

    @contextlib.asynccontextmanager
    async def stream(*_: object) -> AsyncIterator[Answered]:
        yield Answered(list(servers))

    settings, sock = quick(), bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    app = create_app(cast("KernelAPI", SimpleNamespace(stream=stream)), settings)
    async with running(app, settings, sock) as server:
        relay = Relay(port, *(cast("Any", None),) * 3, server, [])
        return (await relay.ask(post(chat()))).body


def wire(*parts: bytes) -> bytes:
    return b"".join(parts) + b"data: [DONE]\n\n"


async def test_a_stream_of_one_server_has_no_comment() -> None:
    assert await streamed("a") == wire(*map(event, said(3)))


async def test_the_comment_stands_before_the_first_event_of_the_next_server() -> None:
    first, *rest = map(event, said(3))
    body = await streamed("a", "b")
    assert body == wire(first, b": h2o-resumed attempts=2 server=b\n\n", *rest)


async def test_once_for_each_server() -> None:
    first, second, *rest = map(event, said(3))
    body = await streamed("a", "b", "c d")
    one = b": h2o-resumed attempts=2 server=b\n\n"
    two = b": h2o-resumed attempts=3 server=c d\n\n"
    assert body == wire(first, one, second, two, *rest)


async def test_clients_pass_it_by() -> None:
    """Another relay, too."""
    splitter = Splitter(2**20)
    body = await streamed("a", "b", "c")
    assert splitter.feed(body) == b"".join(map(event, said(3)))
    assert splitter.done


async def test_a_name_cannot_end_the_comment() -> None:
    tries: Any = SimpleNamespace(count=2, server="a\n\ndata: x\r é%")
    assert gone_on(tries) == b": h2o-resumed attempts=2 server=a%0A%0Adata: x%0D %C3%A9%25\n\n"
