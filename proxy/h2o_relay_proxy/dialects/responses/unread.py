"""What of a request is not honoured, for the caller to be told."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Any

MOST = 64  # paths that are told one by one: they stand in one header
WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Unread:
    """Dotted paths without the numbers of lists (`input.phase`), each once."""

    def __init__(self) -> None:
        self._paths: dict[str, None] = {}

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self._paths)

    def add(self, parent: str, name: str) -> None:
        """`parent` may have numbers: `input[3]`. Names that are too many or that could not stand
        in a header are told together, as `input.*`.
        """
        parent = re.sub(r"\[\d+\]", "", parent)
        told = len(self._paths) < MOST and WORD.fullmatch(name)
        self._paths[f"{parent}.{name}" if told else f"{parent}.*"] = None

    def top(self, name: str) -> None:
        """A field of the request itself, by a name of ours."""
        self._paths[name] = None

    def rest(self, parent: str, given: Mapping[str, Any], known: Container[str]) -> None:
        """All fields of an object but the known ones and those that are null."""
        for name, value in given.items():
            if name not in known and value is not None:
                self.add(parent, name)
