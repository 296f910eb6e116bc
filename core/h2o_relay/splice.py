"""Changing one value in a JSON text without rebuilding the rest of it.

What a decoder and an encoder would do to the rest (numbers, unknown fields, spacing) then cannot
happen. A splice is used only if decoding its result gives exactly what was wanted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

MODEL = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.)*")')


def with_model(body: bytes, params: Mapping[str, Any], model: str) -> bytes:
    """`body`, whose decoded form is `params`, with `model` as its top-level model."""
    wanted = {**params, "model": model}
    encoded = orjson.dumps(model)
    if "model" not in params:
        rest = body.lstrip()[1:]
        candidate = b'{"model":' + encoded + (b"," if params else b"") + rest
        if _reads_as(candidate, wanted):
            return candidate
    matches = list(MODEL.finditer(body))
    if len(matches) == 1:
        start, end = matches[0].span(1)
        candidate = body[:start] + encoded + body[end:]
        if _reads_as(candidate, wanted):
            return candidate
    return orjson.dumps(wanted)


def _reads_as(text: bytes, wanted: Mapping[str, Any]) -> bool:
    try:
        return bool(orjson.loads(text) == wanted)
    except orjson.JSONDecodeError:
        return False
