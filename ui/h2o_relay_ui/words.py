"""Figures and foreign texts as the tabs show them, made safe for the HTML that they write.

The tabs write HTML into `gr.Markdown` without its sanitiser, which would take charts apart, and
`gr.HTML` does not run under the page's content security policy. So whatever somebody else chose
(names, reasons, log lines) goes through `text`, and no blank line, where Markdown would begin
again, can be in what is written.
"""

from __future__ import annotations

from html import escape

LIMIT = 300  # characters of one foreign text
NOTHING = "–"  # noqa: RUF001 - an en dash, where there is no figure
UNPRINTABLE = "\ufffd"
MINUTE, HOUR, DAY = 60, 3600, 86400


def text(value: object, limit: int = LIMIT) -> str:
    """A foreign text for HTML, in an attribute too: one line, escaped, cut after `limit`.

    What would turn the direction of the text or not show at all is shown as a replacement sign.
    """
    line = " ".join(str(value).split())
    if len(line) > limit:
        line = line[: limit - 1] + "…"
    return escape("".join(each if each.isprintable() else UNPRINTABLE for each in line))


def duration(seconds: float) -> str:
    """How long something has lasted, by its largest unit: `3 min`, `2 h`, `1 day`."""
    if seconds < MINUTE:
        return "under a minute"
    if seconds < HOUR:
        return f"{int(seconds / MINUTE)} min"
    if seconds < 2 * DAY:
        return f"{int(seconds / HOUR)} h"
    return f"{int(seconds / DAY)} days"


def seconds(value: float | None) -> str:
    """A wait: two decimals below ten seconds."""
    if value is None:
        return NOTHING
    return f"{value:.2f} s" if value < 9.995 else f"{value:.0f} s"


def whole(value: int | None) -> str:
    """A count, its thousands apart."""
    return NOTHING if value is None else f"{value:,}"


def counted(count: int, one: str, many: str = "") -> str:
    """`1 model`, `2 models`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
