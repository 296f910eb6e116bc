"""Errors in the shape of Anthropic's API (its API reference, "Errors")."""

from __future__ import annotations

from typing import Any

import orjson

from h2o_relay.errors import ContextTooLong, RelayError

TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
THREAD = "thread"
"""The field by which Anthropic's client goes on with a conversation that the server has; told that
there is none, it sends the whole conversation by itself.
"""
TOO_LONG = "prompt is too long: "
"""How Anthropic begins to say that a conversation does not fit. Clients look for it, and then
makes the conversation shorter.
"""


def type_of(status: int) -> str:
    """Anthropic's name for a kind of error."""
    return TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")


def error_body(error: RelayError, request_id: str | None) -> bytes:
    """The JSON for an error, before the first byte or as an event; without a `request_id` where
    there is none to be told. A lone surrogate in a message becomes a replacement character.
    """
    message = error.message
    if error.code == ContextTooLong.code and not message.startswith(TOO_LONG):
        message = TOO_LONG + message
    if error.param and error.param not in message:  # there is no other place for it
        message = f"{error.param}: {message}"
    message = message.encode("utf-8", "replace").decode()
    body: dict[str, Any] = {
        "type": "error", "error": {"type": type_of(error.status), "message": message},
    }  # fmt: skip
    if error.param == THREAD:
        body["error"]["details"] = {
            "error_code": "thread_unsupported_request", "unsupported": [THREAD],
        }  # fmt: skip
    if request_id is not None:
        body["request_id"] = request_id
    return orjson.dumps(body)


def error_event(error: RelayError) -> bytes:
    """The event that ends a stream which fails; no `message_stop` follows."""
    return b"event: error\ndata: %b\n\n" % error_body(error, None)
