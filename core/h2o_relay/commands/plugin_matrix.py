"""The capability matrix: plugins by capabilities, as they declare them or as they were proven."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .plugin_kit import Result

COLUMNS = (
    "chat", "text", "stream", "cancel stream", "cancel generate", "tools", "embeddings",
    "tokenizer", "load", "identify", "fields",
)  # fmt: skip
PROVEN_BY = {
    "chat": ("answers",),
    "text": ("answers",),
    "stream": ("answers", "splits"),
    "cancel stream": ("cancel stream",),
    "cancel generate": ("cancel generate",),
    "fields": ("parameters",),
}
"""The checks of the kit that a capability fails with."""
FAILS = "FAILS"
UNKNOWN = "?"


def headers(proven: bool) -> list[str]:
    return ["plugin", *COLUMNS, *(["kit"] if proven else [])]


def rows(results: Sequence[Result], proven: bool) -> list[list[str]]:
    return [
        [result.info.name, *cells(result).values(), *([summary(result)] if proven else [])]
        for result in results
    ]


def cells(result: Result) -> dict[str, str]:
    """What stands in a plugin's row, by column."""
    return {column: _cell(result, column) for column in COLUMNS}


def _cell(result: Result, column: str) -> str:
    said = result.declared.get(column, UNKNOWN)
    failed = set(PROVEN_BY.get(column, ())) & set(result.failed_checks)
    return FAILS if failed and said != "no" else said


def summary(result: Result) -> str:
    """The last column: how the kit went."""
    if result.problem is not None:
        return "not run" if not result.tests else "broken off"
    if not result.of("passed"):
        return "nothing passed"
    if result.of("failed"):
        return f"FAILS: {', '.join(result.failed_checks)}"
    skipped = len(result.of("skipped"))
    return f"{len(result.of('passed'))} passed" + (f", {skipped} skipped" if skipped else "")


def markdown(results: Sequence[Result]) -> str:
    """What plugins declare, as a table for a page."""
    lines = [headers(False), ["---"] * (1 + len(COLUMNS)), *rows(results, False)]
    return "\n".join("| " + " | ".join(_shown(cell) for cell in line) + " |" for line in lines)


def _shown(cell: str) -> str:
    return "" if cell == "no" else cell


def as_json(result: Result) -> dict[str, Any]:
    names = ("suite", "name", "check", "reason")
    return {
        "plugin": result.info.name,
        "distribution": result.info.distribution,
        "version": result.info.version,
        "passes": result.good,
        "problem": result.problem,
        "capabilities": cells(result),
        "passed": len(result.of("passed")),
        "failed": [{name: test[name] for name in names} for test in result.of("failed")],
        "skipped": [{name: test[name] for name in names} for test in result.of("skipped")],
    }
