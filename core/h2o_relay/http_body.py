"""Reading a response's body whole, whichever client it came by."""

from __future__ import annotations

from collections.abc import AsyncIterable

from .errors import UpstreamResponseTooLarge


async def read_all(chunks: AsyncIterable[bytes], limit: int) -> bytes:
    """Everything, as one. Raises UpstreamResponseTooLarge past `limit` bytes."""
    pieces, size = [], 0
    async for data in chunks:
        size += len(data)
        if size > limit:
            raise UpstreamResponseTooLarge(f"the upstream's answer is larger than {limit} bytes")
        pieces.append(data)
    return b"".join(pieces)
