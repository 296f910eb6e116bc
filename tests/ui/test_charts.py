"""From series to lines."""

from __future__ import annotations

import re

import pytest

from h2o_relay.admin import Series
from h2o_relay_ui.charts import HEIGHT, MOST, ceiling, charts, drawn, figure, legend, smooth

from .test_models_rows import HOSTILE, Read

END = 1000.0


def series(name: str, requests: list[int], tokens: list[int] | None = None,
           latency: list[float | None] | None = None, end: float = END) -> Series:  # fmt: skip
    count = len(requests)
    return Series(
        name=name, interval=5.0, end=end, requests=tuple(requests),
        tokens=tuple(tokens or [0] * count), latency=tuple(latency or [None] * count),
    )  # fmt: skip


def test_counts_become_rates_over_half_a_minute() -> None:
    (requests, tokens, first), left_out = charts(
        [series("a", [1, 0, 3], [50, 0, 100], [0.5, None, 1.5])], END
    )
    assert requests.lines[0].values == (12.0, 6.0, 16.0)
    assert tokens.lines[0].values == (10.0, 5.0, 10.0)
    assert first.lines[0].values == (0.5, 0.5, 1.0)
    assert (requests.top, tokens.top, first.top) == (20.0, 10.0, 1.0)
    assert (requests.span, left_out) == (15.0, 0)


def test_the_interval_that_is_not_over_is_left_out() -> None:
    running = charts([series("a", [2, 9], end=END + 3)], END)[0][0]
    assert running.lines[0].values == (24.0,)


def test_idle_models_have_no_line_and_the_least_busy_are_counted() -> None:
    many = [series(f"m{n}", [n]) for n in range(12)]
    (requests, *_), left_out = charts(many, END)
    assert len(requests.lines) == MOST
    assert {line.name for line in requests.lines} == {f"m{n}" for n in range(4, 12)}
    assert sorted(line.colour for line in requests.lines) == list(range(MOST))
    assert left_out == 3
    assert "and 3 models with less to do" in legend(requests, left_out)


def test_a_line_has_a_colour_in_all_charts() -> None:
    three, _ = charts([series("b", [1]), series("a", [9])], END)
    assert [[(line.name, line.colour) for line in one.lines] for one in three] == [
        [("a", 0), ("b", 1)]
    ] * 3


def test_nothing_is_said_to_be_nothing() -> None:
    three, _ = charts([series("a", [0, 0])], END)
    assert all("No request in the last minutes." in drawn(one) for one in three)
    assert legend(three[0], 0) == ""
    assert "No request" in drawn(charts([], END)[0][0])


def test_gaps_are_gaps_and_a_lonely_value_is_a_dot() -> None:
    values = smooth([None, 1.0, None, None], 1)
    assert values == (None, 1.0, None, None)
    chart = charts([series("a", [0] * 6 + [1] + [0] * 13, latency=[None] * 6 + [1.0] +
                           [None] * 13)], END)[0][2]  # fmt: skip
    path = re.search(r' d="([^"]*)"', drawn(chart))
    assert path is not None
    assert path[1].count("M") == 1  # one stretch: half a minute long
    assert path[1].count("L") == 6
    alone = charts([series("a", [1], latency=[1.0])], END)[0][2]
    assert f'd="M0.0 {0.0:.1f}L0.0 {0.0:.1f}"' in drawn(alone)


def test_lines_stay_inside_their_chart() -> None:
    chart = charts([series("a", [0, 7, 1, 30, 0])], END)[0][0]
    points = re.findall(r"[ML]([0-9.]+) ([0-9.]+)", drawn(chart))
    assert points
    assert all(0 <= float(y) <= HEIGHT for _, y in points)


@pytest.mark.parametrize(
    ("highest", "top"),
    [(0, 1), (0.03, 0.05), (1, 1), (1.1, 2), (4.9, 5), (6, 10), (48, 50), (999, 1000)],
)
def test_axes_end_at_a_round_figure(highest: float, top: float) -> None:
    assert ceiling(highest) == pytest.approx(top)


def test_figures_of_an_axis_are_short() -> None:
    assert [figure(v) for v in (0, 0.5, 2, 2.5, 25, 1000)] == ["0", "0.5", "2", "2.5", "25",
                                                               "1,000"]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_only_text(name: str) -> None:
    three, left_out = charts([series(name, [1, 2], [3, 4], [0.1, 0.2])], END)
    for source in (*map(drawn, three), legend(three[0], left_out)):
        read = Read(source)
        assert read.tags <= {
            "figure", "figcaption", "small", "div", "span", "svg", "line", "path", "title", "i",
        }  # fmt: skip
        assert not any(name.startswith("on") for name in read.attributes)
        assert "\n" not in source
