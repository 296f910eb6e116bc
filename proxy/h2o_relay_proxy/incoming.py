"""One request as handlers are given it."""

from __future__ import annotations

from typing import Any

from .body import Headers, Receive
from .respond import Header, Send, new_id


class Incoming:
    """A request's scope, headers by name (the last of a name), channels and id."""

    __slots__ = ("headers", "id", "receive", "scope", "send")

    def __init__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self.scope = scope
        self.headers: Headers = dict(scope["headers"])
        self.receive = receive
        self.send = send
        self.id: Header = (b"x-request-id", new_id(self.headers.get(b"x-request-id")))

    @property
    def name(self) -> str:
        """The request's id, for logs and messages."""
        return self.id[1].decode()

    @property
    def has_body(self) -> bool:
        length = self.headers.get(b"content-length", b"0")
        return length != b"0" or b"transfer-encoding" in self.headers
