"""TGI's errors. Its body is `{"error": "text", "error_type": "word"}` (ErrorResponse); the first
releases had no `error_type`. Version 3 wraps errors of its Messages streams as OpenAI does.

    error_type             status   here
    overloaded             429      RateLimited
    validation             422      ContextTooLong for too many tokens, else UpstreamRejected
    generation             424      UpstreamBadResponse: the model failed, not the caller
    incomplete_generation  500      UpstreamIncomplete
    others                 422      UpstreamRejected (template_error, tool_error, ...)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from h2o_relay.errors import (
    MESSAGE_LIMIT,
    ContextTooLong,
    RateLimited,
    RelayError,
    UpstreamBadResponse,
    UpstreamIncomplete,
    UpstreamRejected,
    error_object,
    from_response,
    redact,
)
from h2o_relay.http import Response
from h2o_relay.openai_shape import beginning, media_type, seconds_to_wait
from h2o_relay.types import Server

TOO_LONG = re.compile(
    r"(?:Input validation error: )?`inputs` (?:"
    r"tokens \+ `max_new_tokens` must be <= \d+\. Given: \d+ `inputs` tokens and \d+ `max_new_tok"
    r"|must have less than \d+ tokens\. Given: \d+)"
)
"""TGI has one type for everything that is wrong with a request; only these two sentences, which
hold nothing that the caller wrote, say that it is too long."""


async def refusal(response: Response, server: Server) -> RelayError:
    """The error for a response of status 300 and above."""
    body = await beginning(response)
    retry_after = seconds_to_wait(response.headers.get("retry-after"))
    error = error_object(body)
    if not error and response.status < 500 and media_type(response).startswith("text/plain"):
        # Bodies that do not fit its schema TGI refuses in plain text.
        error = {"message": body.decode("utf-8", "replace")}
    known = reported(error, server, response.status) if error else None
    if known is not None:
        return known
    if response.status == 422 and error:
        return UpstreamRejected(422, redact(error, server.key))
    return from_response(response.status, body, retry_after=retry_after, secret=server.key)


def in_stream(event: Mapping[str, Any], server: Server) -> RelayError:
    """The error for an event that reports one, under a status of 200."""
    error = as_object(event)
    known = reported(error, server, None)
    if known is not None:
        return known
    kind, clean = error.get("type"), redact(error, server.key)
    if kind == "overloaded":
        return RateLimited(message(clean))
    status = error.get("http_status_code")
    if isinstance(status, int) and 400 <= status < 500:
        return UpstreamRejected(status, clean)
    if isinstance(kind, str) and kind in CALLERS:
        return UpstreamRejected(422, clean)
    return UpstreamBadResponse(f"the upstream server reported an error: {message(clean)}")


CALLERS = frozenset({"validation", "template_error", "missing_template_variable", "tool_error"})
"""Types of errors that are the request's fault."""


def reported(error: Mapping[str, Any], server: Server, status: int | None) -> RelayError | None:
    """The error for those that TGI gives a meaning of its own; None for others."""
    clean = redact(error, server.key)
    text = message(clean)
    if status in (None, 400, 413, 422) and TOO_LONG.match(text):
        return ContextTooLong(text)
    if error.get("type") == "generation" or status == 424:
        return UpstreamBadResponse(f"the upstream server reported an error: {text}")
    if error.get("type") == "incomplete_generation":
        return UpstreamIncomplete(f"the upstream server reported an error: {text}")
    return None


def as_object(event: Mapping[str, Any]) -> dict[str, Any]:
    """An error event in OpenAI's words: `message` and `type`."""
    error = event.get("error")
    if isinstance(error, dict):
        return {**error, "type": error.get("type") or error.get("error_type")}
    return {"message": str(error), "type": event.get("error_type")}


def message(error: Mapping[str, Any]) -> str:
    """TGI's own words."""
    text = error.get("message")
    return text[:MESSAGE_LIMIT] if isinstance(text, str) and text else "it gave no reason"


def sharpened(error: RelayError, server: Server) -> RelayError:
    """An error that the kernel made of a TGI answer, as TGI meant it."""
    if isinstance(error, UpstreamRejected):
        said = {"message": error.message, "type": error.upstream_type}
        return reported(said, server, error.status) or error
    return error
