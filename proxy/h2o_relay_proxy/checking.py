"""Checks of one field, each with the JSON schema that says the same.

A check is called with the field's path and its value, and raises InvalidRequest with that path as
`param`, or does nothing. The OpenAPI document is made of the schemas (`schema_of`), so that no
range is written twice. Nothing is coerced: `true` is no number here, and `1.0` no whole one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from h2o_relay.errors import InvalidRequest

Check = Callable[[str, Any], None]
Schema = dict[str, Any]
"""JSON Schema 2020-12, as OpenAPI 3.1 has it."""
MAX_INT = 2**31 - 1
INT64 = (-(2**63), 2**64 - 1)
"""The whole numbers that JSON readers keep whole: what is beyond is read as a float."""
TYPES: Mapping[type, str] = {
    str: "string", bool: "boolean", int: "integer", float: "number", dict: "object",
    list: "array",
}  # fmt: skip
_SCHEMAS: dict[Check, Schema] = {}


def says(schema: Schema) -> Callable[[Check], Check]:
    """Decorates a check: the schema of what it lets pass."""

    def note(check: Check) -> Check:
        _SCHEMAS[check] = schema
        return check

    return note


def schema_of(check: Check) -> Schema:
    """What a check lets pass. Raises KeyError for one that does not say it."""
    return _SCHEMAS[check]


def missing(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
    )


def wrong_type(name: str, wanted: str) -> InvalidRequest:
    return InvalidRequest(f"'{name}' must be {wanted}.", param=name, code="invalid_type")


def out_of_range(name: str, code: str, wanted: str) -> InvalidRequest:
    return InvalidRequest(f"'{name}' must be {wanted}.", param=name, code=code)


def empty(name: str, code: str | None = None) -> InvalidRequest:
    return InvalidRequest(f"'{name}' is empty.", param=name, code=code)


def too_long(name: str, most: int) -> InvalidRequest:
    return InvalidRequest(
        f"'{name}' may have at most {most} entries.", param=name, code="array_too_long"
    )


def number(low: float, high: float) -> Check:
    @says({"type": "number", "minimum": low, "maximum": high})
    def checker(name: str, value: Any) -> None:
        if type(value) not in (int, float):
            raise wrong_type(name, "a number")
        if value < low:
            raise out_of_range(name, "below_min_value", f"at least {low:g}")
        if value > high:
            raise out_of_range(name, "above_max_value", f"at most {high:g}")

    return checker


def integer(low: int, high: int) -> Check:
    @says({"type": "integer", "minimum": low, "maximum": high})
    def checker(name: str, value: Any) -> None:
        if type(value) is not int and not _beyond(value, low, high):
            raise wrong_type(name, "a whole number")
        if value < low:
            raise out_of_range(name, "below_min_value", f"at least {low}")
        if value > high:
            raise out_of_range(name, "above_max_value", f"at most {high}")

    return checker


def _beyond(value: Any, low: int, high: int) -> bool:
    """A whole number out of range that was read as a float because it is so large."""
    return type(value) is float and not low <= value <= high and value == int(value)


def of(kind: type, wanted: str) -> Check:
    @says({"type": TYPES[kind]})
    def checker(name: str, value: Any) -> None:
        if type(value) is not kind:
            raise wrong_type(name, wanted)

    return checker


def either(*kinds: type, wanted: str) -> Check:
    low, high = INT64
    bounds = {"minimum": low, "maximum": high} if int in kinds else {}

    @says({"type": [TYPES[kind] for kind in kinds], **bounds})
    def checker(name: str, value: Any) -> None:
        if type(value) not in kinds:
            raise wrong_type(name, wanted)

    return checker


def one_of(*words: str) -> Check:
    @says({"type": "string", "enum": list(words)})
    def checker(name: str, value: Any) -> None:
        wanted = " or ".join(map(repr, words))
        if type(value) is not str:
            raise wrong_type(name, wanted)
        if value not in words:
            raise InvalidRequest(f"'{name}' must be {wanted}.", param=name)

    return checker
