"""The sliding window and the calendar, by property."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2o_relay.accounting.windows import CELLS, SECOND, WINDOW, Calendar, Window, span

from .limits_kit import Standstill

steps = st.lists(
    st.tuples(st.integers(0, 40 * SECOND) | st.integers(0, SECOND // 100), st.integers(1, 30)),
    min_size=1, max_size=80,
)  # fmt: skip


@given(steps, st.integers(1, 60))
def test_no_sixty_seconds_hold_more_than_the_limit(
    steps: list[tuple[int, int]], limit: int
) -> None:
    window, now, admitted = Window(), 0, []
    for step, amount in steps:
        now += step
        if window.wait(amount, limit, now) == 0:
            window.add(amount, now)
            admitted.append((now, amount))
    for begins, _ in admitted:
        inside = sum(a for at, a in admitted if begins <= at < begins + WINDOW)
        assert inside <= limit


@given(steps, st.integers(30, 60))
def test_the_wait_is_exact(steps: list[tuple[int, int]], limit: int) -> None:
    """Who comes again after it is let in, and who comes before is not: nobody starves."""
    window, now = Window(), 0
    for step, amount in steps:
        now += step
        wait = window.wait(amount, limit, now)
        assert wait is not None
        if wait:
            assert window.wait(amount, limit, now + wait - 1) == 1
            now += wait
            assert window.wait(amount, limit, now) == 0
        window.add(amount, now)


@given(steps, st.data())
def test_what_is_given_back_is_free_at_once(
    steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    window, now, cells, left = Window(), 0, [], []
    for step, amount in steps:
        now += step
        window.look(now)
        cells.append(window.add(amount, now))
        left.append((now, amount))
        number = data.draw(st.integers(0, len(cells) - 1))
        at, most = left[number]
        back = data.draw(st.integers(0, most))
        window.give(cells[number], back)
        left[number] = at, most - back
    assert window.look(now) == sum(amount for at, amount in left if at > now - WINDOW)


@given(st.integers(1, 5))
def test_memory_is_bounded_and_little_is_lost(seed: int) -> None:
    """100,000 a minute, evenly: a thousandth is lost to the grain, no more."""
    limit, window, now, admitted = 100_000, Window(), 0, 0
    step = WINDOW // limit + seed
    for _ in range(3 * limit):
        now += step
        if window.wait(1, limit, now) == 0:
            window.add(1, now)
            admitted += 1
    assert len(window._cells) <= 2 * CELLS + 1
    assert admitted >= 3 * limit * 0.998


def test_a_steady_caller_at_the_limit_is_never_refused() -> None:
    window, now = Window(), 0
    for _ in range(2000):
        assert window.wait(1, 600, now) == 0
        window.add(1, now)
        now += WINDOW // 600


def test_what_is_counted_ahead_leaves_later() -> None:
    window = Window()
    window.add(1, 10 * SECOND)
    window.add(1, 0)  # not before what is already there
    assert window.wait(1, 2, 0) == 70 * SECOND
    assert window.look(70 * SECOND - 1) == 2
    assert window.look(70 * SECOND) == 0


@pytest.mark.parametrize(
    ("period", "at", "label", "ends"),
    [("day", "2026-02-28T23:59:59", "2026-02-28", "2026-03-01"),
     ("day", "2028-02-29T00:00:00", "2028-02-29", "2028-03-01"),
     ("month", "2026-12-31T12:00:00", "2026-12", "2027-01-01"),
     ("month", "2026-01-31T12:00:00", "2026-01", "2026-02-01")],
)  # fmt: skip
def test_periods_are_those_of_the_calendar_in_utc(
    period: str, at: str, label: str, ends: str
) -> None:
    found = span(period, datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp())  # type: ignore[arg-type]
    assert found.label == label
    assert found.ends == datetime.fromisoformat(ends).replace(tzinfo=UTC).timestamp()


@given(st.lists(st.floats(0, 4e9), min_size=1, max_size=20))
def test_the_calendar_follows_the_clock_also_back(times: list[float]) -> None:
    still = Standstill()
    calendar = Calendar(still.clock)
    for unix in times:
        still.unix = unix
        for period in ("day", "month", "total"):
            assert calendar.now(period) == span(period, unix)  # type: ignore[arg-type]
            left = calendar.left(period)  # type: ignore[arg-type]
            assert left is None if period == "total" else 0 < left <= 31 * 86400  # type: ignore[operator]
