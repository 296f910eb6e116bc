"""A request's head as it was parsed, and the next one that repeats it.

Clients send the same head with every request of a connection, but for the length of the body. Bytes
that were parsed and looked at once are not parsed and looked at again: `Head.body_of` tells whether
what has come is the same head with a whole body behind it, and whoever has drawn something from the
head keeps it there for the next request. A head that differs in anything else is read as usual.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from .respond import Header

if TYPE_CHECKING:
    from h2o_relay.accounting.proof import Proof

    from .exchange import Exchange

LENGTH: Final = re.compile(rb"\r\ncontent-length: ?(\d{1,15})(?=\r\n)", re.IGNORECASE)
END: Final = b"\r\n\r\n"
LONGEST: Final = 8 * 1024  # bytes of a head that is kept for comparing
OTHERWISE: Final = frozenset({b"expect", b"transfer-encoding", b"upgrade"})
"""Headers by which a connection goes on otherwise than with the next request."""


class Head:
    """Shared by the requests that brought it; nobody changes what was parsed."""

    __slots__ = (
        "_after", "_before", "_digits", "asked", "fields", "handler", "headers", "keep_alive",
        "method", "path", "proof", "query", "route", "version",
    )  # fmt: skip

    def __init__(
        self, method: str, path: bytes, version: str, headers: list[Header], keep_alive: bool,
        query: bytes = b"",
    ) -> None:  # fmt: skip
        """`headers` have lower-case names; `path` and `query` are as they were sent."""
        self.method, self.path, self.query, self.version = method, path, query, version
        self.headers = headers
        self.fields = dict(headers)  # the last of a name
        self.keep_alive = keep_alive
        self._before = b""
        # What was drawn from it, once somebody has.
        self.route = b""
        """The path as the relay knows it (`root_path.py`)."""
        self.handler: Callable[[Exchange], Awaitable[None]] | None = None
        """Who answers it; it may come from its Host."""
        self.proof: Proof | None = None
        """Who it is from."""
        self.asked: tuple[str | None, bool] | None = None
        """What it wants beside (`telling.asked_for`); its body is JSON."""

    def keep(self, data: bytes) -> bool:
        """Remember its bytes, if `data` is this head and a whole body, and it can be told when it
        comes again. Whether it can.
        """
        end = data.find(END, 0, LONGEST)
        if end < 0 or self.version == "1.0" or not self.keep_alive or self.method != "POST":
            return False
        found = LENGTH.findall(data, 0, end + 2)
        if len(found) != 1 or not OTHERWISE.isdisjoint(self.fields):
            return False
        at = LENGTH.search(data, 0, end + 2)
        assert at is not None
        self._before, self._digits = data[: at.start(1)], at[1]
        self._after = data[at.end(1) : end + len(END)]
        return self.body_of(data) is not None

    def body_of(self, data: bytes) -> bytes | None:
        """The body, if `data` is this head once more, whatever the length of its body, and all of
        that; else None.
        """
        before = self._before
        if not before or not data.startswith(before):
            return None
        start = len(before)
        end = data.find(b"\r", start, start + 16)
        if end < 0 or not data.startswith(self._after, end):
            return None
        digits, body = data[start:end], data[end + len(self._after) :]
        if digits != self._digits:
            if not digits.isdigit() or int(digits) != len(body):
                return None
            self._digits = digits
            self.fields = {**self.fields, b"content-length": digits}
        elif int(digits) != len(body):
            return None
        return body
