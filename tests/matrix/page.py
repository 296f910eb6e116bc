"""docs/matrix.md: its tables, as they are measured and as they are written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from .backends import BACKENDS
from .features import FEATURES
from .kit import bench
from .measuring import OTHER, Measured

TABLES = (*FEATURES, OTHER)
PAGE = Path(__file__).parents[2] / "docs" / "matrix.md"
Column = Mapping[str, str]
"""A backend's verdicts by the names of the rows."""


def written(table: str, page: str) -> dict[str, dict[str, str]]:
    """A table of the page, by its columns. Raises ValueError where there is none."""
    begin = page.index(f"<!-- generated: matrix_{table} -->")
    lines = page[begin : page.index("<!-- end -->", begin)].splitlines()[1:]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line]
    (_, *names), _, *cells = rows
    return {name: {row[0]: row[place + 1] for row in cells} for place, name in enumerate(names)}


def markdown(columns: Mapping[str, Column]) -> str:
    """A table of columns, all of which have the same rows."""
    rows = [["", *columns], ["---"] * (len(columns) + 1)]
    for name in next(iter(columns.values())):
        rows += [[name, *(column[name] for column in columns.values())]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


@cache
def tables() -> dict[str, str]:
    """All of them, measured: some seconds."""
    logging.getLogger("h2o_relay").setLevel(logging.CRITICAL)
    return asyncio.run(_measured())


async def _measured() -> dict[str, str]:
    found: dict[str, dict[str, Column]] = {table: {} for table in TABLES}
    for backend in BACKENDS:
        async with bench(backend) as running:
            measured = Measured(running)
            for table in TABLES:
                found[table][backend.name] = await measured.column(table)
    return {table: markdown(columns) for table, columns in found.items()}
