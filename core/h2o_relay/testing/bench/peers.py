"""Ports that something is wrong with before any request: what no HTTP server can do by itself.

Each is a context manager that gives a `Peer` on loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

HOST = "127.0.0.1"
FILLERS = 3  # Linux lets one connection more wait than the backlog says
BANNER = b"SSH-2.0-bench\r\n"


@dataclass(slots=True)
class Peer:
    """`accepted` counts connections."""

    port: int
    accepted: int = 0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


@contextlib.contextmanager
def refusing() -> Iterator[Peer]:
    """Nothing listens: connections are refused. Nobody else can have the port meanwhile."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        yield Peer(taken.getsockname()[1])


@contextlib.contextmanager
def unaccepting() -> Iterator[Peer]:
    """A full backlog: a connection is neither made nor refused, as behind a black hole."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind((HOST, 0))
        listener.listen(0)
        for _ in range(FILLERS):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield Peer(listener.getsockname()[1])


@contextlib.asynccontextmanager
async def resetting() -> AsyncIterator[Peer]:
    """RST to whoever connects."""

    def reset(transport: asyncio.Transport) -> None:
        linger = struct.pack("ii", 1, 0)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()

    async with _accepting(reset) as peer:
        yield peer


@contextlib.asynccontextmanager
async def mute() -> AsyncIterator[Peer]:
    """Accepts, reads, and never says a word: a TLS handshake hangs."""
    async with _accepting(lambda transport: None) as peer:
        yield peer


@contextlib.asynccontextmanager
async def bannered(banner: bytes = BANNER) -> AsyncIterator[Peer]:
    """Speaks first, and not HTTP."""
    async with _accepting(lambda transport: transport.write(banner)) as peer:
        yield peer


class _Protocol(asyncio.Protocol):
    def __init__(self, peer: Peer, act: Callable[[asyncio.Transport], None]) -> None:
        self._peer, self._act = peer, act
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._peer.accepted += 1
        self._act(transport)

    def leave(self) -> None:
        """Break the connection off, also one that is only being made."""
        if self.transport is None:
            self._act = asyncio.Transport.abort
        else:
            self.transport.abort()


@contextlib.asynccontextmanager
async def _accepting(act: Callable[[asyncio.Transport], None]) -> AsyncIterator[Peer]:
    """`act` is done to every connection."""
    peer, made = Peer(0), list[_Protocol]()

    def protocol() -> _Protocol:
        made.append(_Protocol(peer, act))
        return made[-1]

    server = await asyncio.get_running_loop().create_server(protocol, HOST, 0)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        for one in made:
            one.leave()
        await server.wait_closed()
