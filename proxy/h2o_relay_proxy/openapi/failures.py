"""Errors as the document has them: who can be told what, by the classes of the one tree."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from h2o_relay import errors
from h2o_relay.errors import RelayError

from ..checking import Schema

Kind = type[RelayError]
EVERY: tuple[Kind, ...] = (
    errors.InvalidRequest,
    errors.Unauthorized,
    errors.Forbidden,
    errors.RequestTimeout,
    errors.RequestTooLarge,
    errors.URITooLong,
    errors.HeadersTooLarge,
    errors.RelayError,
    errors.Overloaded,
)
"""Of every request: its head, its Host, its key, its pace; the relay's own faults and its going."""
OPEN: tuple[Kind, ...] = tuple(kind for kind in EVERY if kind is not errors.Unauthorized)
"""The same where no key is asked for."""
BODY: tuple[Kind, ...] = (errors.InvalidJSON, errors.UnsupportedMediaType)


TREE: tuple[Kind, ...] = tuple(
    kind for kind in errors.error_tree() if kind.__module__ == errors.__name__
)
"""Without those of plugins, which are there or not."""


def below(*kinds: Kind) -> tuple[Kind, ...]:
    """These classes and all that are made of them."""
    return tuple(kind for kind in TREE if issubclass(kind, kinds))


SERVERS: tuple[Kind, ...] = (
    errors.ModelNotFound,
    errors.ContextTooLong,
    errors.UpstreamRejected,
    errors.RateLimited,
    errors.PluginError,
    *below(errors.UpstreamError, errors.Overloaded, errors.UpstreamTimeout),
)
"""Of a request that a server answers."""
OPENAI: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "description": "All four keys are always there; an upstream's own error may have more.",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string", "minLength": 1},
                "type": {"type": "string"},
                "param": {
                    "type": ["string", "null"],
                    "description": "Path of the field at fault.",
                },
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
ANTHROPIC: Schema = {
    "type": "object",
    "required": ["type", "error"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {
                "type": {"type": "string"},
                "message": {"type": "string", "minLength": 1},
            },
        },
        "request_id": {"type": ["string", "null"]},
    },
}
EITHER: Schema = {
    "anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("Error", "AnthropicError")]
}
SCHEMAS = {"Error": OPENAI, "AnthropicError": ANTHROPIC, "EitherError": EITHER}
"""The shapes of errors: OpenAI's everywhere, Anthropic's for who asks for messages, and for who
lists models in Anthropic's way.
"""
REQUEST_ID: dict[str, Any] = {
    "description": "The request's id: the caller's own if it sent one.",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 128},
}
RETRY_AFTER: dict[str, Any] = {
    "description": "Seconds after which the caller may come again.",
    "schema": {"type": "integer", "minimum": 0},
}
WAITS = frozenset({429, 503})


def failing(kinds: Iterable[Kind], schema: str = "Error") -> dict[str, Any]:
    """The responses for these errors, by status. `schema` names the shape of the body."""
    found = sorted({_status(kind) for kind in kinds})
    return {status: {"$ref": f"#/components/responses/{schema}{status}"} for status in found}


def responses() -> dict[str, Any]:
    """All of them, by the names of the document's components."""
    by_status: dict[str, list[Kind]] = {}
    for kind in TREE:
        by_status.setdefault(_status(kind), []).append(kind)
    return {
        f"{schema}{status}": _response(status, by_status[status], schema)
        for schema in SCHEMAS
        for status in sorted(by_status)
    }


def _status(kind: Kind) -> str:
    """An upstream's own refusal keeps its status, which may be any."""
    return "4XX" if kind is errors.UpstreamRejected else str(kind.status)


def _response(status: str, kinds: list[Kind], schema: str) -> dict[str, Any]:
    headers = {"x-request-id": REQUEST_ID}
    if status.isdigit() and int(status) in WAITS:
        headers["retry-after"] = RETRY_AFTER
    return {
        "description": "\n".join(map(_line, kinds)),
        "headers": headers,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _line(kind: Kind) -> str:
    """A class in one line: its code, and when it happens."""
    when = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
    return f"`{kind.code}`: {when}" if kind.code else when
