"""JSON schemas of dataclasses, as `orjson.dumps(asdict(value))` writes them."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ..checking import Schema

PLAIN: Mapping[Any, Schema] = {
    str: {"type": "string"}, bool: {"type": "boolean"}, int: {"type": "integer"},
    float: {"type": "number"}, type(None): {"type": "null"}, Any: {},
}  # fmt: skip


def schema_of_type(kind: Any) -> Schema:
    """The schema of a type. Raises TypeError for one that it does not know."""
    if kind in PLAIN:
        return dict(PLAIN[kind])
    if is_dataclass(kind):
        return _of_dataclass(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of_type(one) for one in inner]}
    if origin in (tuple, list, Sequence):
        return {"type": "array", "items": schema_of_type(inner[0])}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": schema_of_type(inner[1])}
    raise TypeError(f"no schema for {kind}")


def _of_dataclass(kind: Any) -> Schema:
    """All its fields are written, whether they have a default or not."""
    hints = get_type_hints(kind)
    named = [item.name for item in fields(kind)]
    assert all(item.init or item.default is not MISSING for item in fields(kind))
    return {
        "type": "object",
        "required": named,
        "properties": {name: schema_of_type(hints[name]) for name in named},
    }
