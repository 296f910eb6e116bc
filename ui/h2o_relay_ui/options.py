"""What may be set for a chat besides its model: read from the side panel's fields, as texts.

A field that is left empty is left to the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from h2o_relay.errors import InvalidRequest

OWN = "the model's own"
STOPS = 16  # stop strings at most
LARGEST_SEED = 2**63 - 1
MOST_TOKENS = 10**9
ESCAPES = {"\\n": "\n", "\\t": "\t"}
Kind = Literal["text", "lines", "number", "whole"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the panel. `low` and `high` are allowed themselves."""

    name: str
    label: str
    help: str
    kind: Kind
    low: float = -math.inf
    high: float = math.inf

    @property
    def elem_id(self) -> str:
        return f"chat-option-{self.name.replace('_', '-')}"


FIELDS = (
    Field("system", "System prompt", "How the model should behave in this chat.", "text"),
    Field("temperature", "Temperature",
          "0 is the likeliest answer each time; 1 and more is freer.", "number", 0, 5),
    Field("top_p", "Top p",
          "Draw only from the likeliest words that together have this share.", "number", 0, 1),
    Field("max_tokens", "Max tokens", "Length that the answer does not exceed.", "whole", 1,
          MOST_TOKENS),
    Field("seed", "Seed", "The same number gives the same answer, where the server can.",
          "whole", -LARGEST_SEED, LARGEST_SEED),
    Field("stop", "Stop", "The answer ends before these texts: one a line, \\n is a line end.",
          "lines"),
    Field("context", "Context length",
          "Tokens of the chat that are sent at most; the oldest messages go first.", "whole", 64,
          MOST_TOKENS),
)  # fmt: skip


def texts_of(values: tuple[Any, ...]) -> dict[str, str]:
    """The fields' texts by name, as they are stored; what is empty is left out."""
    given = {field.name: str(value or "") for field, value in zip(FIELDS, values, strict=True)}
    return {name: text for name, text in given.items() if text.strip()}


def values_of(texts: Any) -> list[str]:
    """The fields' texts in their order, out of what was stored."""
    texts = texts if isinstance(texts, Mapping) else {}
    return [str(texts.get(field.name) or "") for field in FIELDS]


def read(texts: Mapping[str, str]) -> dict[str, Any]:
    """What the texts mean, by field; without those that are empty. Raises InvalidRequest with a
    line for their reader.
    """
    values = {field.name: _value(field, texts.get(field.name) or "") for field in FIELDS}
    return {name: value for name, value in values.items() if value not in (None, "", [])}


def _value(field: Field, text: str) -> Any:
    if field.kind == "text":
        return text if text.strip() else None
    if field.kind == "lines":
        return _lines(field, text)
    return _number(field, text.strip())


def _lines(field: Field, text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip()]
    for written, meant in ESCAPES.items():
        lines = [line.replace(written, meant) for line in lines]
    if len(lines) > STOPS:
        raise InvalidRequest(f"{field.label} has {len(lines)} lines. {STOPS} are allowed.")
    return lines


def _number(field: Field, word: str) -> float | int | None:
    if not word:
        return None
    kind: type[int] | type[float] = int if field.kind == "whole" else float
    try:
        value = kind(word.replace(",", "."))
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise InvalidRequest(f"{field.label} is {word[:40]!r}, which is not {what}.") from None
    if not math.isfinite(value):
        raise InvalidRequest(f"{field.label} must be finite.")
    if value < field.low:
        raise InvalidRequest(f"{field.label} must be {field.low:,} or more.")
    if value > field.high:
        raise InvalidRequest(f"{field.label} must be {field.high:,} or less.")
    return value
