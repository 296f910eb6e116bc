"""Usage as people read it, and as CSV (RFC 4180)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import click

from ..accounting.usage_query import UsageReport, UsageRow
from .printable import one_line

FIGURES = tuple(item.name for item in fields(UsageRow) if item.name != "group")
FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would work out."""


def print_usage(report: UsageReport) -> None:
    """A table; where there are several rows, the last one is their sum."""
    from .tables import print_table

    if not report.rows:
        click.echo("nobody used anything in this time", err=True)
        return
    heads = [name.capitalize() for name in report.by]
    cost = f"Cost ({report.currency})" if report.currency else "Cost"
    figures = ("Requests", "Errors", "Prompt", "Cached", "Answer", "Estimated", cost, "p50", "p95")
    rows = [(*_group(report, row), *_cells(row)) for row in report.rows]
    if len(rows) > 1 and report.by:
        rows.append(("in all", *[""] * (len(report.by) - 1), *_cells(total(report.rows))))
    print_table([*heads, *figures], rows)
    unpriced = sum(row.unpriced for row in report.rows)
    if unpriced and any(row.cost is not None for row in report.rows):
        click.echo(f"{unpriced:,} requests are in no cost: their models have no price", err=True)


def print_csv(report: UsageReport) -> None:
    """A line for each row, its groups first; numbers as they are, nothing where there is none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    named = ["key_name"] if "key" in report.by else []
    writer.writerow([*report.by, *named, *FIGURES, "currency"])
    for row in report.rows:
        names = [report.names.get(row.group["key"], "")] if named else []
        words = [_harmless(row.group[name]) for name in report.by] + [*map(_harmless, names)]
        writer.writerow([*words, *(getattr(row, name) for name in FIGURES), report.currency])
    click.echo(out.getvalue(), nl=False)


def total(rows: Sequence[UsageRow]) -> UsageRow:
    """The sum of rows; their percentiles have none."""
    costs = [row.cost for row in rows if row.cost is not None]
    counted = ("requests", "errors", "aborted", "prompt_tokens", "completion_tokens",
               "cached_tokens", "estimated", "unpriced")  # fmt: skip
    sums = {name: sum(getattr(row, name) for row in rows) for name in counted}
    return UsageRow(group={}, cost=sum(costs) if costs else None, **sums)


def money(amount: float | None) -> str | None:
    """`12.34`, and of less than a cent as many places as tell something: `0.00042`."""
    if amount is None:
        return None
    return f"{amount:,.2f}" if amount == 0 or amount >= 1 else f"{amount:.2g}"


def _group(report: UsageReport, row: UsageRow) -> list[str | None]:
    """None where a request had none: no model, no error."""
    words = [one_line(row.group[name], 80) or None for name in report.by]
    if "key" in report.by:
        at = report.by.index("key")
        name = report.names.get(row.group["key"])
        words[at] = f"{one_line(name, 80)} ({words[at]})" if name else words[at]
    return words


def _cells(row: UsageRow) -> list[Any]:
    share = round(100 * row.estimated / row.requests) if row.requests else 0
    return [
        f"{row.requests:,}", f"{row.errors:,}", f"{row.prompt_tokens:,}",
        f"{row.cached_tokens:,}", f"{row.completion_tokens:,}",
        f"{share} %" if row.estimated else None, money(row.cost), _seconds(row.p50),
        _seconds(row.p95),
    ]  # fmt: skip


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f} s" if value < 9.995 else f"{value:.0f} s"


def _harmless(text: str) -> str:
    """A spreadsheet would work out a name that begins like a formula."""
    line = one_line(text, 300)
    return f"'{line}" if line.startswith(FORMULAS) else line
