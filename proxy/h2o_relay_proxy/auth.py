"""One key, in any of the three headers that OpenAI's, Anthropic's and Azure's clients send."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from h2o_relay.errors import Unauthorized

BEARER = b"bearer "


def credentials(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """Every key that a request presents: `Authorization: Bearer`, `x-api-key`, `api-key`."""
    found = []
    for name, value in headers:
        if name == b"authorization":
            found.append(value[len(BEARER) :].strip() if value[:7].lower() == BEARER else b"")
        elif name in (b"x-api-key", b"api-key"):
            found.append(value)
    return found


def authenticate(headers: Iterable[tuple[bytes, bytes]], key: bytes | None) -> None:
    """Raises Unauthorized unless the request presents `key`; with None all may pass.

    Several credentials are accepted only if they are all the key.
    """
    if key is None:
        return
    presented = credentials(headers)
    if not any(presented):
        raise Unauthorized(
            "No API key was given. Send it as 'Authorization: Bearer KEY'.", code="missing_api_key"
        )
    good = True
    for candidate in presented:
        good &= hmac.compare_digest(candidate, key)
    if not good:
        raise Unauthorized("The API key is not correct.")
