"""The prefix below which a reverse proxy serves the relay: taken off, where the proxy left it on.

The API writes no address of its own into answers, so there is nothing else to do for it. What
follows sees the path without the prefix, keys and routes alike.
"""

from __future__ import annotations

from h2o_relay.settings import Settings


def prefix_of(settings: Settings) -> bytes:
    """`/relay`; empty where there is none."""
    return (settings.root_path or "").rstrip("/").encode()


def below(prefix: bytes, path: bytes) -> bytes:
    """A path as the relay knows it: `/v1/models` for `/relay/v1/models`, and for itself."""
    if not prefix or not path.startswith(prefix):
        return path
    rest = path[len(prefix) :]
    if not rest:
        return b"/"
    return rest if rest.startswith(b"/") else path
