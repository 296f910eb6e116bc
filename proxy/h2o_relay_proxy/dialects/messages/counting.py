"""/messages/count_tokens: a request that is counted and not answered."""

from __future__ import annotations

from typing import Any

import orjson

from .request import read


def read_count(params: dict[str, Any]) -> dict[str, Any]:
    """The chat request whose prompt is to be counted. Raises InvalidRequest."""
    fields = read(params, counting=True).params
    return {k: v for k, v in fields.items() if k not in ("stream", "stream_options")}


def count_body(tokens: int, *, estimated: bool = False) -> bytes:
    """The answer (`MessageTokensCount`); `estimated` is ours and says that nobody has counted."""
    return orjson.dumps({"input_tokens": tokens, **({"estimated": True} if estimated else {})})
