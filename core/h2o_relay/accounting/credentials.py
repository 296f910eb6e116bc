"""What a request presents, in any of the headers that OpenAI's, Anthropic's and Azure's clients
send. There is no other place where the relay reads one.
"""

from __future__ import annotations

from collections.abc import Iterable

BEARER = b"bearer "


def credentials(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """Every key that a request presents: `Authorization: Bearer`, `x-api-key`, `api-key`. Names of
    headers are in lower case; b"" stands for one that holds no key.
    """
    found = []
    for name, value in headers:
        if name == b"authorization":
            found.append(value[len(BEARER) :].strip() if value[:7].lower() == BEARER else b"")
        elif name in (b"x-api-key", b"api-key"):
            found.append(value)
    return found
