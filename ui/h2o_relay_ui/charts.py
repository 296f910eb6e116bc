"""Line charts of the last minutes as inline SVG.

Gradio's own plots compile expressions in the browser, which the page's content security policy
forbids. The lines are stretched to the width that there is; all words are HTML around them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from h2o_relay.admin import Series

from .words import counted, text

WIDTH, HEIGHT = 600, 150  # of the SVG's own units
MOST = 8  # lines, as many as there are colours (system.css)
WINDOW = 30.0  # seconds that each point is the mean of
QUIET = "No request in the last minutes."
Value = float | None


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    values: tuple[Value, ...]
    """A value for each interval, the oldest first; None where there is none."""
    colour: int


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    unit: str
    lines: tuple[Line, ...]
    top: float
    """The axis's upper end."""
    span: float
    """Seconds from the first interval to the end of the last."""


def charts(series: Sequence[Series], now: float) -> tuple[list[Chart], int]:
    """Requests, tokens per second and time to the first token; and how many models had something
    to do and are left out, since they had the least.
    """
    busy = sorted((one for one in series if any(one.requests) or any(one.tokens)),
                  key=lambda one: -sum(one.requests))  # fmt: skip
    shown = sorted(busy[:MOST], key=lambda one: one.name)
    wanted: tuple[tuple[str, str, Callable[[Series], Sequence[Value]]], ...] = (
        ("Requests", "a minute", _rate(lambda one: one.requests, 60.0)),
        ("Tokens", "a second", _rate(lambda one: one.tokens, 1.0)),
        ("Time to first token", "seconds", lambda one: one.latency),
    )
    return [_chart(title, unit, pick, shown, now) for title, unit, pick in wanted], len(busy[MOST:])


def _rate(of: Callable[[Series], Sequence[int]], seconds: float) -> Callable[[Series], list[Value]]:
    return lambda one: [value * seconds / one.interval for value in of(one)]


def _chart(
    title: str, unit: str, pick: Callable[[Series], Sequence[Value]], shown: Sequence[Series],
    now: float,
) -> Chart:  # fmt: skip
    lines = tuple(
        Line(one.name, smooth(over(pick(one), one, now), round(WINDOW / one.interval)), colour)
        for colour, one in enumerate(shown)
    )
    highest = max((value for line in lines for value in line.values if value), default=0.0)
    span = max((one.interval * len(line.values) for one, line in zip(shown, lines, strict=True)),
               default=0.0)  # fmt: skip
    return Chart(title, unit, lines, ceiling(highest), span)


def over(values: Sequence[Value], one: Series, now: float) -> Sequence[Value]:
    """Without the interval that is not over yet: it would look like a fall each time."""
    return values[:-1] if one.end > now else values


def smooth(values: Sequence[Value], width: int) -> tuple[Value, ...]:
    """Each the mean of the last `width` that there are; None where there is none of them."""
    points: list[Value] = []
    for end in range(1, len(values) + 1):
        there = [value for value in values[max(0, end - width) : end] if value is not None]
        points.append(sum(there) / len(there) if there else None)
    return tuple(points)


def ceiling(highest: float) -> float:
    """The next of 1, 2, 5, 10, 20 ... and of 0.1, 0.2 ...: an axis that people can read."""
    if highest <= 0:
        return 1.0
    step = 10.0 ** math.floor(math.log10(highest))
    return next((step * n for n in (1, 2, 5, 10) if step * n >= highest * 0.999), step * 10)


def drawn(chart: Chart) -> str:
    """A chart with its title, axes and legend."""
    lines = "".join(_path(line, chart.top) for line in chart.lines)
    grid = "".join(
        f'<line class="system-grid" x1="0" x2="{WIDTH}" y1="{y}" y2="{y}"/>'
        for y in (0, HEIGHT // 2, HEIGHT)
    )
    svg = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{chart.title}">{grid}{lines}</svg>'
    )
    marks = "".join(f"<span>{figure(chart.top * part)}</span>" for part in (1, 0.5, 0))
    middle = f'<span class="system-quiet">{QUIET}</span>' if not chart.lines else ""
    return (
        f'<figure class="system-chart"><figcaption>{chart.title} <small>{chart.unit}</small>'
        f'</figcaption><div class="system-plot"><div class="system-marks">{marks}</div>'
        f'<div class="system-area">{svg}{middle}</div></div>'
        f'<div class="system-times"><span>{ago(chart.span)}</span><span>now</span></div></figure>'
    )


def legend(chart: Chart, left_out: int) -> str:
    names = "".join(
        f'<span class="system-key"><i class="system-colour-{line.colour}"></i>{text(line.name)}'
        "</span>"
        for line in chart.lines
    )
    rest = f"<span>and {counted(left_out, 'model')} with less to do</span>" if left_out else ""
    return f'<div class="system-legend">{names}{rest}</div>' if names else ""


def ago(seconds: float) -> str:
    return f"{round(seconds / 60)} min ago" if seconds >= 60 else ""


def figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.3g}"


def _path(line: Line, top: float) -> str:
    """Its stretches without a gap; one of a single value is a dot (a line of no length)."""
    wide = WIDTH / max(1, len(line.values) - 1)
    parts: list[str] = []
    open_ = False
    for at, value in enumerate(line.values):
        if value is None:
            open_ = False
            continue
        point = f"{at * wide:.1f} {HEIGHT - HEIGHT * min(value / top, 1.0):.1f}"
        parts.append(f"L{point}" if open_ else f"M{point}L{point}")
        open_ = True
    return (
        f'<path class="system-line system-colour-{line.colour}" d="{"".join(parts)}">'
        f"<title>{text(line.name)}</title></path>"
    )
