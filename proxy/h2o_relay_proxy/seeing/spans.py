"""A `Record` in the words of OpenTelemetry: a span's name, attributes and status.

After the semantic conventions for generative AI (gen-ai-spans.md and gen-ai-metrics.md, in
"Development") and for HTTP servers (http-spans.md). No prompt, no answer and no key is in them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from h2o_relay.accounting.record import Record

from .vocabulary import OPERATIONS, error_codes, provider

Attributes = dict[str, str | bool | int | float]
CODES: Final = error_codes()
UNKNOWN: Final = "_OTHER"
"""`error.type`, or a method, that no vocabulary knows (the conventions' word for it)."""
URL: Final = re.compile(r"https?://[^\s]+")
HOST_AND_PORT: Final = re.compile(r"\w+:([\w.-]+):(\d{1,5})(?![^:/])")
DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def name(record: Record) -> str:
    """`chat llama-3`; `GET /v1/models` for what asks no model."""
    operation = OPERATIONS.get(record.route)
    if operation is None:
        return f"{record.method or 'HTTP'} {record.route}"  # as the conventions have it
    return f"{operation} {record.model}" if record.model else operation


def attributes(record: Record) -> Attributes:
    """Of the one span of a request."""
    told: Attributes = {
        "http.request.method": record.method or UNKNOWN,
        "http.route": record.route,
        "http.response.status_code": record.status,
        "h2o.request.id": record.id,
        "h2o.key": record.key,
        "h2o.attempts": record.attempts,
        "h2o.queue.duration": record.queued,
        "h2o.overhead.duration": record.overhead,
        "h2o.aborted": record.aborted,
        **gen_ai(record),
    }
    if record.route in OPERATIONS:
        told["gen_ai.request.stream"] = record.streamed
    optional: dict[str, float | int | None] = {
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.output_tokens": record.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
        "gen_ai.response.time_to_first_chunk": record.first,
        "h2o.cost": record.cost,
    }
    told.update({key: value for key, value in optional.items() if value is not None})
    if record.estimated:
        told["h2o.usage.estimated"] = True
    return told


def gen_ai(record: Record) -> Attributes:
    """What spans and metrics have in common; each is one of few, so that it may be a label."""
    told: Attributes = {}
    operation = OPERATIONS.get(record.route)
    if operation is not None:
        told["gen_ai.operation.name"] = operation
    if record.plugin:
        told["gen_ai.provider.name"] = provider(record.plugin)
    if record.model:
        told["gen_ai.request.model"] = record.model
    if record.deployment:
        told["gen_ai.response.model"] = record.deployment
    where = address(record.server) if record.server else None
    if where is not None:
        told["server.address"], told["server.port"] = where
    kind = error_type(record)
    if kind is not None:
        told["error.type"] = kind
    return told


def error_type(record: Record) -> str | None:
    """The error's code, else the status of one that has none; None for what went well."""
    if record.code:
        return record.code if record.code in CODES else UNKNOWN
    return str(record.status) if record.status >= 400 else None


def failed(record: Record) -> bool:
    """Whether the span is an error: a server's is for 5xx, and for what broke in mid-stream, but
    not for what its caller got wrong (http-spans.md, "Status").
    """
    return record.status >= 500 or (record.status < 400 and record.code is not None)


@lru_cache(maxsize=256)
def address(server: str) -> tuple[str, int] | None:
    """Host and port that a server string names, if it does."""
    found = URL.search(server)
    try:
        if found is not None:
            parts = urlsplit(found.group())
            port = parts.port or DEFAULT_PORTS[parts.scheme]
            return (parts.hostname, port) if parts.hostname else None
    except ValueError:
        return None
    plain = HOST_AND_PORT.match(server)
    return (plain[1], int(plain[2])) if plain else None
