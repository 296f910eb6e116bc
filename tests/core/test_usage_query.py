"""What may be asked of the usage, and points in time."""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode

import pytest

from h2o_relay.accounting.periods import date_of, day_of, moment, start_of
from h2o_relay.accounting.usage_query import (
    UsageQuery,
    UsageReport,
    parameters,
    read_query,
    read_report,
)
from h2o_relay.errors import InvalidRequest

from .usage_kit import DAY, NOW

MIDNIGHT = NOW - 8 * 3600


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7d", NOW - 7 * DAY), ("12h", NOW - DAY / 2), ("30m", NOW - 1800), ("2w", NOW - 14 * DAY),
        ("today", MIDNIGHT), ("Month", MIDNIGHT - 14 * DAY), ("2027-01-15", MIDNIGHT),
        ("2027-01-15T08:00", NOW), ("2027-01-15T08:00:00Z", NOW),
        ("2027-01-15T09:00:00+01:00", NOW), ("1800000000", NOW), ("1800000000.5", NOW + 0.5),
        (" 7D ", NOW - 7 * DAY), ("0.000000", 0.0),
    ],
)  # fmt: skip
def test_a_point_in_time(text: str, expected: float) -> None:
    assert moment(text, NOW, "since") == expected


@pytest.mark.parametrize("text", ["", "soon", "7x", "-7d", "2027-13-01", "9" * 30, "7 days", "\0"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        moment(text, NOW, "since")
    assert caught.value.param == "since"
    assert "'since' is a point in time: 7d" in caught.value.message


def test_periods_begin_at_midnight_in_utc() -> None:
    assert start_of("day", NOW) == MIDNIGHT == start_of("day", MIDNIGHT)
    assert start_of("day", MIDNIGHT - 1) == MIDNIGHT - DAY
    assert date_of(day_of(start_of("month", NOW))) == "2027-01-01"
    assert start_of("total", NOW) == 0


def test_a_query() -> None:
    given = {"by": ["key,day", "model"], "since": ["7d"], "until": ["1d"], "key": ["a", "b"]}
    assert read_query(given, NOW) == UsageQuery(
        by=("key", "day", "model"), since=NOW - 7 * DAY, until=NOW - DAY, only={"key": ("a", "b")}
    )
    assert read_query({}, NOW) == UsageQuery(by=("key",), since=NOW - 30 * DAY)
    assert read_query({"by": [""]}, NOW).by == ()


@pytest.mark.parametrize(
    ("given", "param", "told"),
    [
        ({"by": ["kee"]}, "by", "did you mean 'key'"),
        ({"by": ["status; DROP TABLE usage"]}, "by", "Usage is not told by"),
        ({"sinse": ["7d"]}, "sinse", "did you mean 'since'"),
        ({"xyz": ["7d"]}, "xyz", "there are by, since, until"),
        ({"since": ["1d", "2d"]}, "since", "more than once"),
        ({"since": ["1d"], "until": ["2d"]}, "until", "is not after"),
        ({"model": ["m"] * 101}, None, "At most 100"),
    ],
)
def test_what_cannot_be_asked(given: dict[str, list[str]], param: str | None, told: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_query(given, NOW)
    assert caught.value.param == param
    assert told in caught.value.message


@pytest.mark.parametrize(
    "query",
    [
        UsageQuery(by=(), since=5.25),
        UsageQuery(by=("day", "key"), since=0.0, until=NOW, only={"model": ("a&b", "c=d")}),
    ],
)
def test_a_query_is_read_as_it_is_written(query: UsageQuery) -> None:
    text = urlencode(parameters(query))
    assert read_query(parse_qs(text, keep_blank_values=True), NOW) == query


def test_what_is_no_report_is_said() -> None:
    good = UsageReport(since=0, until=None, by=(), rows=()).data()
    assert read_report(good).rows == ()
    for bad in ({}, {"data": 5}, {**good, "data": [{}]}):
        with pytest.raises((KeyError, TypeError)):
            read_report(bad)
