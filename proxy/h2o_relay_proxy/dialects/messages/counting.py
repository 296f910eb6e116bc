"""/messages/count_tokens: a request that is counted and not answered."""

from __future__ import annotations

from typing import Any

import orjson

from .request import read


def read_count(params: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The chat request whose prompt is to be counted, and the fields that it has no place for.
    Raises InvalidRequest.
    """
    found = read(params, counting=True)
    fields = {k: v for k, v in found.params.items() if k not in ("stream", "stream_options")}
    return fields, found.dropped


def count_body(tokens: int, *, estimated: bool = False) -> bytes:
    """The answer (`MessageTokensCount`); `estimated` is ours and says that nobody has counted."""
    return orjson.dumps({"input_tokens": tokens, **({"estimated": True} if estimated else {})})
