"""Keys, in any of the three headers that OpenAI's, Anthropic's and Azure's clients send."""

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


def presents(headers: Iterable[tuple[bytes, bytes]], keys: Iterable[bytes]) -> bool:
    """Whether a request presents a key, and nothing but keys of these. In constant time for keys
    of one length.
    """
    presented = credentials(headers)
    good = any(presented)
    for candidate in presented:
        known = False
        for key in keys:
            known |= hmac.compare_digest(candidate, key)
        good &= known
    return good


def authenticate(headers: Iterable[tuple[bytes, bytes]], keys: tuple[bytes, ...]) -> None:
    """Raises Unauthorized unless the request presents one of `keys`; without any all may pass."""
    if not keys or presents(headers, keys):
        return
    if not any(credentials(headers)):
        raise Unauthorized(
            "No API key was given. Send it as 'Authorization: Bearer KEY'.", code="missing_api_key"
        )
    raise Unauthorized("The API key is not correct.")
