"""What only uvloop does: several reads before a task runs, and reads before what was called soon.

The relay runs on uvloop in production; its client here is a plain socket in a thread.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
import time
from typing import Any

import pytest

from h2o_relay.testing.scripts import json
from h2o_relay.testing.upstream import Answer, Received

from .kit import chat, completion, post, relay

if sys.platform == "win32":
    pytest.skip("there is no uvloop on Windows", allow_module_level=True)

import uvloop


@pytest.fixture(autouse=True, scope="module")
def signal_pipe() -> None:
    """libuv opens its signal pipe once in a process, and keeps it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR2, lambda: None)
        loop.remove_signal_handler(signal.SIGUSR2)

    uvloop.run(main())


class Client(threading.Thread):
    """Runs `talk` with a connection to the relay; what it raises is raised again by `result`."""

    def __init__(self, port: int, talk: Any) -> None:
        super().__init__(daemon=True)
        self.port, self.talk = port, talk
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
                self.talk(connection)
        except BaseException as error:
            self.error = error

    async def result(self) -> None:
        await asyncio.to_thread(self.join)
        if self.error is not None:
            raise self.error


def read_answers(connection: socket.socket, count: int) -> bytes:
    got = b""
    while got.count(b'"usage"') < count:
        data = connection.recv(65536)
        assert data, got[-300:]
        got += data
    return got


def test_large_bodies_one_after_the_other() -> None:
    data = post(chat(False, pad="x" * 400_000))

    def talk(connection: socket.socket) -> None:
        for _ in range(8):
            connection.sendall(data)
            assert read_answers(connection, 1).startswith(b"HTTP/1.1 200")

    async def main() -> None:
        async with relay(json(completion())) as served:
            client = Client(served.port, talk)
            client.start()
            await client.result()

    uvloop.run(main())


def test_bytes_that_waited_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    from h2o_relay_proxy.protocol import RelayProtocol

    second = post(chat(False, tag="B" * 200))
    about_to_finish = threading.Event()
    original = RelayProtocol.finished

    def finished(self: RelayProtocol, exchange: Any) -> None:
        about_to_finish.set()
        time.sleep(0.1)  # as a collection of garbage might take
        original(self, exchange)

    def talk(connection: socket.socket) -> None:
        connection.sendall(post(chat(False, tag="A")))
        time.sleep(0.1)
        connection.sendall(second[:100])
        assert about_to_finish.wait(5)
        connection.sendall(second[100:])
        got = read_answers(connection, 2)
        assert got.count(b"HTTP/1.1 200") == 2, got

    async def main() -> None:
        release = asyncio.Event()

        async def upstream(request: Received, answer: Answer) -> None:
            if b'"A"' in request.body:
                await release.wait()
            await json(completion())(request, answer)

        async with relay(upstream) as served:
            monkeypatch.setattr(RelayProtocol, "finished", finished)
            client = Client(served.port, talk)
            client.start()
            await asyncio.sleep(0.3)
            release.set()
            await client.result()

    uvloop.run(main())
