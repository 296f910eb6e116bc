"""Keys, in any of the three headers that OpenAI's, Anthropic's and Azure's clients send."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from h2o_relay.accounting.credentials import credentials
from h2o_relay.api_keys import ApiKeys
from h2o_relay.errors import Unauthorized


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


class Keys:
    """Who may call the API: whoever presents one of `keys`, or the internal key, and nothing but
    such keys.
    """

    def __init__(self, keys: ApiKeys, internal: str | None) -> None:
        self._keys = keys
        self._internal = internal
        self.needed = keys.needed

    def authenticate(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raises Unauthorized."""
        presented = credentials(headers)
        if not any(presented):
            raise Unauthorized(
                "No API key was given. Send it as 'Authorization: Bearer KEY'.",
                code="missing_api_key",
            )
        good = True
        for candidate in presented:
            text = candidate.decode("utf-8", "surrogateescape")
            good &= self._keys.check(text) or self._is_internal(candidate)
        if not good:
            raise Unauthorized("The API key is not correct.")

    def _is_internal(self, candidate: bytes) -> bool:
        return self._internal is not None and hmac.compare_digest(
            candidate, self._internal.encode()
        )
