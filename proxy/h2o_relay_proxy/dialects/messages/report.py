"""What of a request is not honoured, and the checks that its parts share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from h2o_relay.errors import InvalidRequest

from ...checking import missing, wrong_type

MOST = 64  # names that are reported one by one; clients send a handful
MORE = "and more"
LONGEST = 100  # characters of a name that nobody knows
CACHING = "cache_control"


class Report:
    """Fields that have no counterpart, each once, as dotted paths without numbers."""

    def __init__(self) -> None:
        self._found: dict[str, None] = {}

    @property
    def dropped(self) -> tuple[str, ...]:
        return tuple(self._found)

    def drop(self, path: str) -> None:
        """`cache_control` stands in many places and is a hint: it is reported by its name alone."""
        name = CACHING if path.endswith("." + CACHING) else path[:LONGEST]
        self._found[name if len(self._found) < MOST or name in self._found else MORE] = None

    def rest(self, path: str, given: Mapping[str, Any], read: Collection[str]) -> None:
        """Report the fields of an object that nobody has read, if they say anything."""
        for name, value in given.items():
            if name not in read and not says_nothing(value):
                self.drop(f"{path}.{name}")


def says_nothing(value: Any) -> bool:
    """Whether a field might as well be left out."""
    return value is None or value is False or value in ("", [], {})


def an_object(path: str, value: Any) -> dict[str, Any]:
    """Raises InvalidRequest for anything else, as the functions below do."""
    if type(value) is not dict:
        raise wrong_type(path, "an object")
    return value


def an_array(path: str, value: Any) -> list[Any]:
    if type(value) is not list:
        raise wrong_type(path, "an array")
    return value


def needed(path: str, given: Mapping[str, Any], name: str) -> Any:
    """A field that must be there."""
    value = given.get(name)
    if value is None:
        raise missing(f"{path}.{name}")
    return value


def a_text(path: str, given: Mapping[str, Any], name: str, *, empty: bool = True) -> str:
    """A text that must be there; with `empty` it may have no characters."""
    value = needed(path, given, name)
    if type(value) is not str:
        raise wrong_type(f"{path}.{name}", "a string")
    if not value and not empty:
        raise InvalidRequest(f"'{path}.{name}' is empty.", param=f"{path}.{name}")
    return value


def optional_text(path: str, given: Mapping[str, Any], name: str) -> str:
    """A text that may be left out; '' then."""
    return "" if given.get(name) is None else a_text(path, given, name)


def a_type(path: str, given: Mapping[str, Any], allowed: Collection[str]) -> str:
    """The `type` that tells objects of one place apart."""
    kind = a_text(path, given, "type")
    if kind not in allowed:
        raise InvalidRequest(
            f"'{path}.type' must be one of {', '.join(sorted(allowed))}.", param=f"{path}.type"
        )
    return kind
