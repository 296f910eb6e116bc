"""A guard for code that must not touch the network."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

INTERNET = (socket.AF_INET, socket.AF_INET6)
LOOKUPS = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr")


@contextmanager
def no_sockets() -> Iterator[None]:
    """Inside the block, opening an internet socket or looking a host up raises AssertionError.

    So does leaving the block if the code swallowed that error. Sockets that are open already, and
    Unix sockets, work on: an event loop may be made inside the block.
    """
    attempts: list[str] = []
    init = socket.socket.__init__

    def refuse(what: str) -> AssertionError:
        attempts.append(what)
        return AssertionError(f"the network was touched: {what}")

    def opening(
        self: socket.socket, family: int = -1, type: int = -1, proto: int = -1, fileno: Any = None
    ) -> None:
        if fileno is None and (family == -1 or family in INTERNET):
            raise refuse("a socket was opened")
        init(self, family, type, proto, fileno)

    def looking_up(host: Any, *_: Any, **__: Any) -> Any:
        raise refuse(f"{host!r} was looked up")

    with ExitStack() as patched:
        patched.enter_context(mock.patch.object(socket.socket, "__init__", opening))
        for lookup in LOOKUPS:
            patched.enter_context(mock.patch.object(socket, lookup, looking_up))
        yield
    if attempts:
        raise AssertionError(f"the network was touched: {'; '.join(attempts)}")
