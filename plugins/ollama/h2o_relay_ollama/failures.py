"""Ollama's errors as the relay's own.

Ollama says `{"error": "text"}`, by status before an answer and as a line of its own within a stream
(its documentation, "Errors"). There are no codes, so the one error that callers must be able to
tell apart, a prompt that is too long, is known by Ollama's own sentences.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from h2o_relay.errors import (
    ContextTooLong,
    RelayError,
    UpstreamBadResponse,
    error_object,
    from_error_object,
    from_response,
)
from h2o_relay.http import Response
from h2o_relay.openai_shape import beginning, seconds_to_wait
from h2o_relay.types import Server

TOO_LONG = (
    "the input length exceeds the context length",
    "input length exceeds maximum context length",
    "the prompt is longer than the context length",
)
"""How Ollama's sentences begin (server/routes.go, llm/llama_server.go), by age."""

ADDRESS = re.compile(r"https?://[^\s\"']+|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?")


async def refusal(response: Response, server: Server) -> RelayError:
    """The error for a response of status 300 and above."""
    body = await beginning(response)
    wait = seconds_to_wait(response.headers.get("retry-after"))
    return refused(response.status, body, wait, server.key)


def refused(
    status: int, body: bytes, retry_after: float | None = None, secret: str | None = None
) -> RelayError:
    """The error for a status of 400 and above and its body."""
    error = error_object(body)
    message = error.get("message")
    if isinstance(message, str) and message:
        if _too_long(message):
            return _coded(400, message, ContextTooLong.code, secret)
        if status == 404:
            return _coded(404, message, "model_not_found", secret)
        if status in (500, 502):  # such as: the model needs more memory than there is
            return _failed({"message": message}, secret)
    return from_response(status, body, retry_after=retry_after, secret=secret)


def reported(said: Mapping[str, Any], server: Server) -> RelayError:
    """The error that came as an object with status 200, or as a line of a stream."""
    error = error_object(orjson.dumps(said))
    message = error.get("message")
    if isinstance(message, str) and _too_long(message):
        return _coded(400, message, ContextTooLong.code, server.key)
    return _failed(error, server.key)


def nonsense(what: str) -> UpstreamBadResponse:
    """The error for an answer that Ollama does not give."""
    return UpstreamBadResponse(f"the Ollama server {what}")


def _failed(error: Mapping[str, Any], secret: str | None) -> RelayError:
    """Without addresses: Ollama tells of its own processes by theirs."""
    message = error.get("message")
    shown = ADDRESS.sub("***", message) if isinstance(message, str) else ""
    return from_error_object({**error, "message": shown}, secret)


def _too_long(message: str) -> bool:
    return message.lower().startswith(TOO_LONG)


def _coded(status: int, message: str, code: str | None, secret: str | None) -> RelayError:
    body = orjson.dumps({"error": {"message": message, "code": code}})
    return from_response(status, body, secret=secret)
