"""What `h2o status` shows people: a table, and a line below it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .printable import one_line, printable
from .status_rows import Row

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

MINUTE, HOUR, DAY = 60, 3600, 86400
STYLES = {
    "healthy": "green",
    "busy": "cyan",
    "warming": "yellow",
    "rate-limited": "yellow",
    "offline": "red",
    "auth-error": "red",
    "draining": "dim",
    "unknown": "dim",
}
WIDE = 120  # columns of a terminal from which on there is room for the servers and their load
REASON = 400  # characters
NUMBERS = ("First token", "Requests")
WIDE_NUMBERS = ("First token", "Running", "Waiting", "Server's load")


def table(rows: Sequence[Row], now: float, width: int) -> Table:
    """A line for each; `now` is Unix time, `width` the columns that there are. Where they are few,
    the servers and their load are left out.
    """
    from rich.table import Table
    from rich.text import Text

    wide = width >= WIDE
    servers = wide and any(row.server or row.members for row in rows)
    numbers = WIDE_NUMBERS if wide else NUMBERS
    found = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("Model", *(["Server"] if servers else []), "State", "Since", *numbers, "Reason"):
        justify: Any = "right" if name in numbers else "left"
        found.add_column(name, overflow="fold", justify=justify, no_wrap=name in ("State", "Since"))
    for row in rows:
        cells = [_name(row, servers), *([_server(row)] if servers else [])]
        state = Text(printable(row.state), style=STYLES.get(row.state, ""))
        told = [_since(row, now), *_numbers(row, wide), _reason(row, now)]
        found.add_row(*(Text(printable(cell)) for cell in cells), state, *map(Text, told))
    return found


def live(
    rows: Sequence[Row], url: str, wrong: Sequence[str], now: float, width: int
) -> RenderableType:
    """What is drawn again and again on a terminal; `wrong` are lines of it."""
    from rich.console import Group
    from rich.text import Text

    below = Text(f"\n{url}: {summary(rows)}", style="dim")
    lines = [Text(one_line(line), style="red") for line in wrong]
    return Group(table(rows, now, width), below, *lines)


def summary(rows: Sequence[Row]) -> str:
    """`3 models, 2 can answer`."""
    models = [row for row in rows if row.model is not None]
    if not rows:
        return "it has no model"
    count = "1 model" if len(models) == 1 else f"{len(models)} models"
    return f"{count}, {sum(row.answers for row in models)} can answer"


def _name(row: Row, wide: bool) -> str:
    if row.model is None:
        return "-" if wide else row.server or "-"
    marks = [*(["pool"] if row.members and not wide else []), *([] if row.listed else ["hidden"])]
    return f"{row.model} ({', '.join(marks)})" if marks else row.model


def _server(row: Row) -> str:
    """A pool's members instead, and how one is chosen."""
    if row.members:
        return f"pool, {row.strategy or 'no strategy'}: {', '.join(row.members)}"
    return row.server or "-"


def _numbers(row: Row, wide: bool) -> Iterable[str]:
    yield "-" if row.latency is None else f"{row.latency:.2f} s"
    if not wide:
        yield _both(row.running, row.waiting)
        return
    yield "-" if row.running is None else str(row.running)
    yield "-" if row.waiting is None else str(row.waiting)
    yield _both(row.server_running, row.server_waiting)


def _both(running: int | None, waiting: int | None) -> str:
    """`3 + 1`: three that run and one that waits."""
    return "-" if running is None and waiting is None else f"{running or 0} + {waiting or 0}"


def _since(row: Row, now: float) -> str:
    return "-" if row.since is None else duration(now - row.since)


def _reason(row: Row, now: float) -> str:
    """Why, and the last error where that is another matter."""
    parts = [row.reason] if row.reason else []
    if row.last_error and row.last_error not in row.reason:
        when = "" if row.last_error_at is None else f" {duration(now - row.last_error_at)} ago"
        parts.append(f"last error{when}: {row.last_error}")
    return one_line("; ".join(parts), REASON) or "-"


def duration(seconds: float) -> str:
    """By its largest unit: `12 s`, `3 min`, `2 h`, `4 days`."""
    whole = max(0, int(seconds))
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min"
    return f"{whole // HOUR} h" if whole < 2 * DAY else f"{whole // DAY} days"
