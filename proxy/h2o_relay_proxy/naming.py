"""The model's name in answers: the one that callers know it by, where its server has another.

A caller who asks for `llama` is answered by `llama`, and not by `/models/llama-3-8b.Q4.gguf`. The
bytes `"model":"NAME"` cannot stand inside a JSON string, where quotes are escaped, so that they are
replaced without decoding anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from h2o_relay.tries import Tries
    from h2o_relay.types import Deployment

Renaming = Callable[[bytes], bytes]


def renaming(tries: Tries | None, deployment: Deployment | None) -> Renaming | None:
    """What puts the name in that was asked for; None where the server's own is the same."""
    if tries is None or deployment is None:
        return None
    asked = tries.pool or tries.server
    return None if asked == deployment.model else _renaming(deployment.model, asked)


async def renamed(
    chunks: AsyncIterator[bytes], rename: Renaming, model: str
) -> AsyncIterator[bytes]:
    """The pieces of a forwarded answer. The server's name for the model may be cut in two by a
    piece's end, where that is not the end of a line: as much is held back for the next one.
    """
    most, held = len(b'"model": ') + len(orjson.dumps(model)) - 1, b""
    async for piece in chunks:
        data = rename(held + piece)
        end = len(data) if data.endswith(b"\n") else max(0, len(data) - most)
        held = data[end:]
        if end:
            yield data[:end]
    if held:
        yield held


@lru_cache(maxsize=1024)
def _renaming(model: str, asked: str) -> Renaming:
    old, new = orjson.dumps(model), orjson.dumps(asked)
    pairs = [(b'"model":%b%b' % (gap, old), b'"model":%b%b' % (gap, new)) for gap in (b"", b" ")]

    def rename(data: bytes) -> bytes:
        for before, after in pairs:
            data = data.replace(before, after)
        return data

    return rename
