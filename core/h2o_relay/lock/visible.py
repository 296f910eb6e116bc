"""`--visible_models`: which deployments are listed; the others can still be asked for by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..spec import ServerSpec
from .errors import LockError, nearest, shown
from .source import UNREAD, literal

FLAG = "--visible-models"


def read(text: str) -> list[str | int]:
    """Names and indices: a list as Python or JSON writes it, or names with commas between.

    Raises LockError.
    """
    value: Any = literal(text)
    if value is UNREAD:
        value = [word.strip() for word in text.split(",") if word.strip()]
        if text.strip().startswith("["):
            value = [word.strip("[]' \"") for word in value]  # quotes that a shell took away
    if isinstance(value, str | int):
        value = [value]
    if not isinstance(value, list | tuple) or not value:
        raise LockError(f"{FLAG}: {shown(text)} is not a list of names and indices")
    for word in value:
        if isinstance(word, bool) or not isinstance(word, str | int):
            raise LockError(f"{FLAG}: {shown(word)} is neither a name nor an index")
    return [int(w) if isinstance(w, str) and w.isdecimal() and len(w) < 6 else w for w in value]


def choose(specs: Sequence[ServerSpec], wanted: Sequence[str | int]) -> list[ServerSpec]:
    """The same servers, each visible or not. Raises LockError for what no server can have.

    A server without a base model may list any name: it is asked for those that no other has.
    """
    names = unique(specs)
    chosen = set[int]()
    left = set[str]()
    for word in wanted:
        if isinstance(word, int) and not 0 <= word < len(specs):
            raise LockError(f"{FLAG}: there is no entry {word}; the last one is {len(specs) - 1}")
        found = [word] if isinstance(word, int) else _called(str(word), specs, names)
        chosen.update(found)
        if not found:
            left.add(str(word))
    wild = {n for n, spec in enumerate(specs) if spec.base_model is None}
    if left and not wild - chosen:
        word = min(left)
        known = [name for name in names if name is not None]
        raise LockError(f"{FLAG}: no entry is called {shown(word)}{nearest(word, known)}")
    return [
        replace(spec, visible=True if n in chosen else frozenset(left) if n in wild else False)
        for n, spec in enumerate(specs)
    ]


def unique(specs: Sequence[ServerSpec]) -> list[str | None]:
    """The names by which entries are asked for: a second `name` is `name_1`, a third `name_2`."""
    taken: set[str] = set()
    names: list[str | None] = []
    for spec in specs:
        wanted = spec.display_name or spec.base_model
        name, number = wanted, 0
        while name in taken:
            number += 1
            name = f"{wanted}_{number}"
        taken |= {name} if name else set()
        names.append(name)
    return names


def _called(word: str, specs: Sequence[ServerSpec], names: Sequence[str | None]) -> list[int]:
    """The entry of that name, else all of that base model."""
    if word in names:
        return [names.index(word)]
    return [n for n, spec in enumerate(specs) if spec.base_model == word]
