"""Anthropic's Messages API over any server (`docs/dialects/messages.md`)."""

from __future__ import annotations

from typing import Any

from h2o_relay.errors import InvalidRequest, RelayError

from ..base import Dialect
from .counting import count_body, read_count
from .errors import THREAD, error_body, error_event
from .exchanged import Message

__all__ = ["DIALECT", "Message", "Messages", "count_body", "read_count"]


class Messages:
    """`Dialect` for Anthropic's Messages."""

    path = "/messages"

    def check(self, params: dict[str, Any]) -> None:
        """No server keeps a thread, whatever it makes of the field. Raises InvalidRequest."""
        if params.get(THREAD) is not None:
            raise InvalidRequest(
                "Threads are not kept here: send the whole conversation.",
                param=THREAD, code="unsupported_parameter",
            )  # fmt: skip

    def read(self, params: dict[str, Any]) -> Message:
        """Raises InvalidRequest."""
        return Message(params)

    def error(self, error: RelayError, request_id: str) -> bytes:
        return error_body(error, request_id)

    def broken(self, error: RelayError) -> bytes:
        return error_event(error)


DIALECT: Dialect = Messages()
