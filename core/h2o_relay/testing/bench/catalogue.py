"""Everything that the bench can do, by name."""

from __future__ import annotations

from collections.abc import Mapping

from . import early, midway, sound
from .grammar import Behaviour

BEHAVIOURS: Mapping[str, Behaviour] = {
    found.name: found
    for module in (sound, early, midway)
    for found in vars(module).values()
    if isinstance(found, Behaviour)
}


def names() -> list[str]:
    """What `/v1/models` lists: each behaviour, and each of the words to choose from."""
    return [name for found in BEHAVIOURS.values() for name in found.names]


def described() -> list[str]:
    """A line for each behaviour: its name, what it does, its options and their defaults."""
    width = max(map(len, BEHAVIOURS))
    return [
        f"{found.name:{width}}  {found.summary} {found.options_shown}".rstrip()
        for found in BEHAVIOURS.values()
    ]
