"""The plot of `python -m benchmarks gateways`: an SVG, written here, since it is a few bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from .beside_summary import NGINX, Summary
from .summary import Spread

PANELS = (("token", "CPU time of a streamed token"), ("request", "CPU time of a plain request"))
WIDTH, LABELS, BAR, STEP, TOP, BOTTOM = 860, 118, 15, 26, 64, 34
GAP = 60
LEAST = 0.4
"""Where the scale begins, if nothing is below it."""
INK, FAINT, OURS, OTHERS = "#1f2328", "#d0d7de", "#e8a300", "#6e8fb3"
FONT = "font-family='system-ui, sans-serif'"


def draw(summary: Summary) -> str:
    """Bars of two ratios to nginx, on a scale by powers of ten; the least is the best."""
    rows = [row for row in summary.rows if summary.ratio("token", row, NGINX) is not None]
    height = TOP + STEP * len(rows) + BOTTOM
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' "
        f"height='{height}' {FONT} font-size='12' fill='{INK}'>"
    )
    parts = [head, f"<rect width='{WIDTH}' height='{height}' rx='6' fill='#ffffff'/>"]
    parts.append(_text(16, 26, "What a hop costs, times nginx (logarithmic)", "start", 16, "600"))
    width = (WIDTH - LABELS - 2 * GAP) / 2
    for place, (key, title) in enumerate(PANELS):
        left = LABELS + place * (width + GAP)
        ratios = [summary.ratio(key, row, NGINX) for row in rows]
        parts.append(_text(left, 52, title, "start", 12, "600"))
        parts += _panel(ratios, rows, left, width)
    for place, row in enumerate(rows):
        parts.append(_text(LABELS - 10, _middle(place) + 4, row, "end", 12, _weight(row)))
    return "\n".join([*parts, "</svg>", ""])


def _panel(
    ratios: Sequence[Spread | None], rows: Sequence[str], left: float, width: float
) -> list[str]:
    """Gridlines, and a bar with its figure and its range for each row."""
    found = [ratio for ratio in ratios if ratio is not None]
    low = math.log10(min([LEAST, *(ratio.low for ratio in found)]))
    high = math.ceil(math.log10(max([10, *(ratio.high for ratio in found)])))

    def across(value: float) -> float:
        return left + (math.log10(value) - low) / (high - low) * width

    end = TOP + STEP * len(rows)
    parts = []
    for power in range(math.ceil(low), high + 1):
        x = across(10.0**power)
        parts.append(f"<path d='M{x:.1f} {TOP}V{end}' stroke='{FAINT}'/>")
        parts.append(_text(x, end + 18, f"{10.0**power:g}", "middle", 11))
    for place, (row, ratio) in enumerate(zip(rows, ratios, strict=True)):
        if ratio is None:
            continue
        top, x = _middle(place) - BAR / 2, across(ratio.median)
        fill = OURS if _ours(row) else OTHERS
        parts.append(
            f"<rect x='{left:.1f}' y='{top:.1f}' width='{max(1.0, x - left):.1f}' height='{BAR}' "
            f"rx='2' fill='{fill}'/>"
        )
        parts.append(
            f"<path d='M{across(ratio.low):.1f} {_middle(place):.1f}H{across(ratio.high):.1f}' "
            f"stroke='{INK}' stroke-width='1.5'/>"
        )
        value = f"{ratio.median:.2f}" if ratio.median < 10 else f"{ratio.median:.0f}"
        parts.append(_text(across(ratio.high) + 6, _middle(place) + 4, value, weight=_weight(row)))
    return parts


def _middle(place: int) -> float:
    return TOP + STEP * place + STEP / 2


def _ours(row: str) -> bool:
    return row.startswith("h2o")


def _weight(row: str) -> str:
    return "600" if _ours(row) else "400"


def _text(
    x: float, y: float, words: str, anchor: str = "start", size: int = 12, weight: str = "400"
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='{size}' "
        f"font-weight='{weight}'>{escape(words)}</text>"
    )
