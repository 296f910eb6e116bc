"""A comparison as a value: its columns, how it asks, and its rounds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from . import options
from .rounds import Round

MOST = 16  # columns
SLOT = re.compile(r"[0-9]{1,9}")
FIELDS = tuple(field for field in options.FIELDS if field.name != "context")
"""What may be set for the models. Each is told as much as its own context takes."""


@dataclass(frozen=True, slots=True)
class Column:
    slot: str
    model: str


@dataclass(frozen=True, slots=True)
class Setup:
    """How a comparison asks. The columns are in the order in which they were added."""

    columns: tuple[Column, ...] = ()
    shared: bool = False
    """Every column goes on with the same history."""
    blind: bool = False
    """The next round is a blind one."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """The fields of `FIELDS` that are not empty."""
    made: int = 0
    """Columns that were ever made: the next one's slot."""

    @classmethod
    def of(cls, given: object) -> Setup:
        """From JSON that a browser or the store has kept; what makes no sense is left out."""
        told = _object(given)
        columns = told.get("columns")
        found = [
            Column(str(each["slot"]), each["model"])
            for each in map(_object, columns if isinstance(columns, list) else ())
            if SLOT.fullmatch(str(each.get("slot"))) and isinstance(each.get("model"), str)
        ]
        kept = tuple({column.slot: column for column in found}.values())[:MOST]
        written = _object(told.get("texts"))
        texts = {each.name: str(text) for each in FIELDS if (text := written.get(each.name))}
        made = told["made"] if isinstance(told.get("made"), int) else 0
        made = max([made, *(int(column.slot) + 1 for column in kept)])
        return cls(kept, told.get("shared") is True, told.get("blind") is True, texts, made)

    def as_json(self) -> dict[str, Any]:
        return {
            "columns": [{"slot": column.slot, "model": column.model} for column in self.columns],
            "shared": self.shared, "blind": self.blind, "texts": dict(self.texts),
            "made": self.made,
        }  # fmt: skip

    def added(self, *models: str) -> Setup:
        """With these columns more, as far as there is room."""
        new = models[: MOST - len(self.columns)]
        columns = [Column(str(self.made + at), model) for at, model in enumerate(new)]
        return replace(self, columns=(*self.columns, *columns), made=self.made + len(new))

    def without(self, slot: str) -> Setup:
        return replace(self, columns=tuple(c for c in self.columns if c.slot != slot))

    def swapped(self, slot: str, model: str) -> Setup:
        """With another model in a column; what was said in it stays."""
        columns = (replace(c, model=model) if c.slot == slot else c for c in self.columns)
        return replace(self, columns=tuple(columns))

    def next_model(self, models: Sequence[str]) -> str:
        """For one more column: a model that has the fewest; "" if there is none."""
        used = Counter(column.model for column in self.columns)
        return min(models, key=lambda name: used[name], default="")


def _object(given: object) -> Mapping[str, Any]:
    return given if isinstance(given, Mapping) else {}


@dataclass(slots=True)
class Comparison:
    """One as it is now. Without an id it is not begun, and nothing is stored."""

    setup: Setup
    id: str = ""
    title: str = ""
    rounds: list[Round] = field(default_factory=list)

    @property
    def last(self) -> Round | None:
        return self.rounds[-1] if self.rounds else None

    @property
    def hidden(self) -> bool:
        """A blind round waits for its vote: nothing may tell which model is which."""
        return self.last is not None and self.last.hidden

    @property
    def arranged(self) -> list[Column]:
        """The columns as they are shown: as in the last round, if that was a blind one."""
        columns = {column.slot: column for column in self.setup.columns}
        blind = self.last is not None and self.last.question.get("blind")
        first = self.last.slots if self.last is not None and blind else []
        return [columns[slot] for slot in dict.fromkeys([*first, *columns]) if slot in columns]
