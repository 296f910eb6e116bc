"""The flags of h2oGPT's `generate.py` that have no meaning here, and what to say of each.

`flags.toml` holds them. A name with `?` behind it is a switch, which may stand without a value.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

SWITCH = "?"


@dataclass(frozen=True, slots=True)
class Flag:
    """`says` is one sentence on what replaces it or why it is gone."""

    name: str
    says: str
    switch: bool
    lock: bool
    """It may stand in a lock's entry too."""


def find(name: str) -> Flag | None:
    """The flag of that name, written with underscores."""
    return _table().get(name)


def answer(name: str) -> str:
    """What to say to a flag. Raises KeyError for what is no such flag."""
    return _table()[name].says


def lock_keys() -> frozenset[str]:
    """The names that may stand in a lock's entry."""
    return frozenset(name for name, flag in _table().items() if flag.lock)


def names() -> frozenset[str]:
    return frozenset(_table())


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("flags.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@lru_cache(maxsize=1)
def _table() -> dict[str, Flag]:
    table: dict[str, Flag] = {}
    for group in _data()["group"]:
        for word in group["flags"].split():
            _add(table, word, group["says"], group.get("lock", False))
    for word, says in _data()["flag"].items():
        _add(table, word, says, word.rstrip(SWITCH) in _data()["lock"])
    return table


def _add(table: dict[str, Flag], word: str, says: str, lock: bool) -> None:
    name = word.rstrip(SWITCH)
    if name in table:
        raise ValueError(f"flags.toml has {name} twice")
    table[name] = Flag(name, says, word.endswith(SWITCH), lock)
