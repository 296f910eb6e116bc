"""Values as bytes, and back: what processes of one relay say to each other.

JSON in which everything but texts, numbers, true, false and null is an array that begins with a
sign. Objects are those of the relay's own classes, brought back without calling anything of theirs:
nothing that is read can run, as it can with Python's own format. Anything else is refused when it
is said.

| sign | what follows |
|---|---|
| `l`, `t`, `s`, `f` | the items of a list, tuple, set, frozenset |
| `d` | the keys and values of a mapping, in turn |
| `b` | bytes, each a character |
| `r` | the text and the flags of a pattern |
| `a` | nothing: `types.ALL` |
| `n` | `module:class` of a named tuple, its items |
| `o` | `module:class`, the names and values of its fields, in turn |
| `e` | `module:class` of an exception, its arguments, its attributes |
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any, Final

from ..types import ALL

OURS: Final = "h2o_relay"
"""How the names of modules begin whose classes are said."""
PLAIN: Final = frozenset({str, int, float, bool, type(None)})
MANY: Final[Mapping[type, str]] = {list: "l", tuple: "t", set: "s", frozenset: "f"}
MADE: Final[Mapping[str, Callable[[list[Any]], Any]]] = {
    "l": list, "t": tuple, "s": set, "f": frozenset,
}  # fmt: skip


def dumped(value: Any) -> bytes:
    """Raises TypeError for what is not to be said."""
    return encoded(said(value))


def encoded(ready: Any) -> bytes:
    """What `said` has made."""
    return json.dumps(ready, separators=(",", ":")).encode()


def loaded(data: bytes) -> Any:
    """Raises ValueError for what nobody said."""
    return _heard(json.loads(data))


def said(value: Any) -> Any:
    """A value as it is now, ready to be encoded. Raises TypeError for what is not to be said."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind in MANY:
        return [MANY[kind], *map(said, value)]
    if kind is bytes:
        return ["b", value.decode("latin-1")]
    if value is ALL:
        return ["a"]
    if isinstance(value, Mapping):
        return ["d", *(said(part) for pair in value.items() for part in pair)]
    if kind is re.Pattern:
        return ["r", value.pattern, value.flags]
    if not kind.__module__.startswith(OURS):
        raise TypeError(f"a {kind.__module__}.{kind.__qualname__} cannot be said")
    name = f"{kind.__module__}:{kind.__qualname__}"
    if isinstance(value, tuple):
        return ["n", name, *map(said, value)]
    if isinstance(value, BaseException):
        return ["e", name, said(value.args), said(vars(value))]
    return ["o", name, *(said(part) for pair in _fields(value) for part in pair)]


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    """The names and values of an object's slots and attributes that are there."""
    kind: Any = type(value)
    for name in _slots(kind):
        if hasattr(value, name):
            yield name, getattr(value, name)
    yield from getattr(value, "__dict__", {}).items()


@lru_cache(maxsize=256)
def _slots(kind: Any) -> tuple[str, ...]:
    found: list[str] = []
    for one in kind.__mro__:
        slots = vars(one).get("__slots__", ())
        found += [slots] if isinstance(slots, str) else slots
    return tuple(name for name in found if name not in ("__weakref__", "__dict__"))


def _heard(value: Any) -> Any:
    if type(value) is not list:
        return value
    sign, *rest = value
    if sign in MADE:
        return MADE[sign]([_heard(item) for item in rest])
    if sign == "d":
        return {_heard(key): _heard(item) for key, item in _pairs(rest)}
    if sign == "b":
        return rest[0].encode("latin-1")
    if sign == "a":
        return ALL
    if sign == "r":
        return re.compile(*rest)
    kind = _class(rest[0])
    if sign == "n":
        return tuple.__new__(kind, map(_heard, rest[1:]))
    made = kind.__new__(kind)
    if sign == "e":
        made.args, attributes = _heard(rest[1]), _heard(rest[2]).items()
    else:
        attributes = ((name, _heard(item)) for name, item in _pairs(rest[1:]))
    for name, item in attributes:
        object.__setattr__(made, name, item)
    return made


def _pairs(parts: list[Any]) -> Iterator[Any]:
    return zip(parts[::2], parts[1::2], strict=True)


@lru_cache(maxsize=256)
def _class(name: str) -> Any:
    module, _, path = name.partition(":")
    if not module.startswith(OURS):
        raise ValueError(f"{name} is no class of the relay")
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    if not isinstance(found, type):
        raise ValueError(f"{name} is no class")
    return found
