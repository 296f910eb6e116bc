"""What is wrong with a configuration file: every mistake at once, each with its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..settings import SettingError

Path = tuple[str | int, ...]
"""A place in the file: `("models", 1, "base_model")`."""
MOST = 100
"""Mistakes that are told; a file with more is wrong in another way."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. None of the texts holds a secret."""

    path: str
    """`models[1].base_modle`; empty for the whole file."""
    line: int | None
    """From 1 on; None where no line is at fault."""
    reason: str

    def __str__(self) -> str:
        line = f"line {self.line}: " if self.line else ""
        return line + (f"{self.path}: {self.reason}" if self.path else self.reason)

    def data(self) -> dict[str, Any]:
        """The same for programs."""
        return asdict(self)


class ConfigError(SettingError):
    """A configuration file with mistakes; `problems` are in the order of its lines."""

    def __init__(self, problems: tuple[Problem, ...], file: str = "") -> None:
        self.problems = problems
        self.file = file
        super().__init__("; ".join(map(str, problems)))

    @property
    def headline(self) -> str:
        """`h2o.yaml: 3 mistakes`, or the only one."""
        if len(self.problems) == 1:
            return f"{self.file}: {self.problems[0]}"
        return f"{self.file}: {len(self.problems)} mistakes"

    @property
    def more(self) -> tuple[str, ...]:
        """A line for each mistake, where there are several."""
        return tuple(map(str, self.problems)) if len(self.problems) > 1 else ()


class Problems:
    """Collects mistakes while a file is read; `lines` are those of the file's places."""

    def __init__(self, lines: Mapping[Path, int] | None = None) -> None:
        self.lines: dict[Path, int] = dict(lines or {})
        self.found: list[Problem] = []
        self._places: list[Path] = []

    def add(self, path: Path, reason: str, line: int | None = None) -> None:
        """`line` where the place has none of its own: else it is looked up."""
        self.found.append(Problem(dotted(path), line or self.line(path), reason))
        self._places.append(path)

    def line(self, path: Path) -> int | None:
        """The line of a place, or of the nearest one around it."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None

    def are_in(self, path: Path) -> bool:
        """Whether something at this place, or inside it, is wrong."""
        return any(place[: len(path)] == path for place in self._places)

    def refuse(self, file: str) -> None:
        """Raise ConfigError if there is a mistake."""
        if self.found:
            in_order = sorted(self.found, key=lambda problem: problem.line or 0)
            raise ConfigError(tuple(in_order[:MOST]), file)


def dotted(path: Path) -> str:
    """`models[1].base_model`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else str(part)
    return text
