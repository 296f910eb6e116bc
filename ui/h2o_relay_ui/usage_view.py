"""Usage by key on the system tab: what is asked of the relay, and its HTML."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from h2o_relay.accounting.periods import moment
from h2o_relay.accounting.usage_query import UsageQuery, UsageReport, UsageRow
from h2o_relay.admin import AdminAPI
from h2o_relay.errors import RelayError

from .context import Context
from .live import Shared
from .models_rows import problem
from .words import NOTHING, counted, text, whole

SPANS: Final = {"today": "Today", "7d": "7 days", "30d": "30 days"}
"""What may be chosen, by the words of `h2o usage --since`. Days are those of UTC."""
USUAL: Final = "30d"
FRESH = 30.0  # seconds for which all pages share a report, which takes the store a moment
KEYS = 50  # that are shown
SMALLEST = 0.0001  # of the currency
NOT_KEPT = "usage_not_kept"
NOBODY = "Nobody used anything in this time."
KEPT_NOWHERE = "This relay keeps no usage: pip install 'h2o-relay[store]' brings what that needs."
MEANT: Final = {
    "admin": "ADMIN_PASS", "env": "H2OGPT_OPENAI_API_KEY", "open": "without a key",
    "page": "the chat page",
}  # fmt: skip
"""The ids that are no keys of the store, and whom they stand for."""
HEADS = ("Requests", "Errors", "Prompt tokens", "Answer tokens", "Cost", "Estimated")


async def usage(context: Context, span: str) -> str:
    """The HTML; why there is none, if the relay cannot tell it."""
    chosen = span if span in SPANS else USUAL
    name = f"usage {chosen}"
    if name not in context.extra:
        context.extra[name] = Shared(lambda: fetched(context.relay, chosen), FRESH)
    try:
        return drawn(await context.extra[name].get())
    except RelayError as error:
        if error.code == NOT_KEPT:
            return f"<div>{KEPT_NOWHERE}</div>"
        return problem(error.message)


async def fetched(relay: AdminAPI, span: str) -> UsageReport:
    since = moment(span, time.time(), "since")
    return await relay.usage(UsageQuery(by=("key",), since=since))


def drawn(report: UsageReport) -> str:
    """What each key used, the most requests first; `report` is by key."""
    trouble = f'<div class="system-reason">{text(report.trouble, 1000)}</div>'
    trouble = trouble if report.trouble else ""
    if not report.rows:
        return f"{trouble}<div>{NOBODY}</div>"
    heads = [f"Cost ({text(report.currency)})" if report.currency and head == "Cost" else head
             for head in HEADS]  # fmt: skip
    rows = "".join(_row(heads, _who(report, row), [row]) for row in report.rows[:KEYS])
    if len(report.rows) > 1 and not report.more:
        rows += _row(heads, "All", report.rows, "system-all")
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Key", *heads))
    return (
        f'{trouble}<table class="system-usage"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table>{_notes(report)}"
    )


def _who(report: UsageReport, row: UsageRow) -> str:
    """The name that people know and the id; the id alone where there is no other."""
    key = row.group.get("key", "")
    name, id = report.names.get(key, ""), key
    if not name and key in MEANT:
        name, id = key, MEANT[key]
    return f"<b>{text(name)}</b> <small>{text(id)}</small>" if name else f"<b>{text(id)}</b>"


def _row(heads: Iterable[str], who: str, rows: Iterable[UsageRow], kind: str = "system-one") -> str:
    """The sum of some rows, as one; each figure says what it is, where there is no head above."""
    summed = list(rows)
    requests = sum(row.requests for row in summed)
    cells = (
        whole(requests),
        whole(sum(row.errors for row in summed)),
        whole(sum(row.prompt_tokens for row in summed)),
        whole(sum(row.completion_tokens for row in summed)),
        money([row.cost for row in summed if row.cost is not None]),
        share(sum(row.estimated for row in summed), requests),
    )
    told = "".join(
        f'<td data-name="{name}">{cell}</td>' for name, cell in zip(heads, cells, strict=True)
    )
    return f'<tr class="{kind}"><td>{who}</td>{told}</tr>'


def _notes(report: UsageReport) -> str:
    """What the table leaves out."""
    left = len(report.rows) - KEYS
    unpriced = sum(row.unpriced for row in report.rows)
    notes = []
    if left > 0:
        notes.append(f"And {counted(left, 'more key')}: h2o usage shows all.")
    if unpriced and any(row.cost is not None for row in report.rows):
        notes.append(f"{counted(unpriced, 'request')} of models without a price: not in the cost.")
    return "".join(f'<div class="system-usage-note">{note}</div>' for note in notes)


def money(costs: list[float]) -> str:
    """Their sum, small ones to a hundredth of a cent."""
    cost = sum(costs)
    if not costs:
        return NOTHING
    if 0 < cost < SMALLEST:
        return f"&lt;{SMALLEST}"
    return f"{cost:,.4f}" if 0 < cost < 1 else f"{cost:,.2f}"


def share(part: int, all: int) -> str:
    """How many requests' tokens the relay has guessed, in percent."""
    if not all or not part:
        return NOTHING
    percent = 100 * part / all
    return "&lt;1 %" if percent < 1 else f"{int(percent)} %"
