"""Usage: a row for each request, and what the rows come to."""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Select,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from ..accounting.caller import Period
from ..accounting.periods import date_of, day_of, start_of
from ..accounting.record import Record
from ..accounting.usage_query import MOST_ROWS, UsageQuery, UsageReport, UsageRow
from .database import changed
from .lasting import Runs
from .tables import keys
from .tables import usage as table
from .tables import usage_trimmed as trimmed
from .text import clean

Row = tuple[Any, ...]
EXACT = 9  # digits of a cost, as far as money is counted (`accounting.permits`)
LARGEST = 2**31 - 1  # of an integer, in every database
WHOLE = ("prompt_tokens", "completion_tokens", "cached_tokens")
NUMBERS = ("at", "seconds", "queued", "overhead")
STEPS = 40  # buckets that a decade of durations is cut into: 6 % each
SHORTEST = 1e-3  # seconds
TOGETHER = 32  # rows of one statement: it has 832 values, and old versions of SQLite allow 999
PIECE = 25  # rows that are made at a time, while everybody else waits
MOST_NAMES = 10_000
MOST_PERCENTILES = 1000  # groups that these are worked out for


class UsageStore:
    """All methods raise StoreError."""

    def __init__(self, store: Runs) -> None:
        self._store = store

    async def add(self, rows: Sequence[tuple[str, Record]], *, again: bool = False) -> None:
        """Requests by ids of their rows (40 characters at most), all of them or none. With `again`
        those that are there already are left out.
        """
        values: list[Row] = []
        for place in range(0, len(rows), PIECE):  # here, and not in the thread: it would not let go
            values += [_values(id, record) for id, record in rows[place : place + PIECE]]
            await asyncio.sleep(0)

        def work(session: Session) -> None:
            new = values
            if again:
                ids = [row[0] for row in values]
                there = set(
                    session.execute(select(table.c.row).where(table.c.row.in_(ids))).scalars()
                )
                new = [row for row in values if row[0] not in there]
            if new:
                _insert(session.connection(), new)

        await self._store.run(work)

    async def report(self, query: UsageQuery) -> UsageReport:
        """What requests came to, in `query.by` groups; its currency is left to others. A key may be
        asked for by its id or by its name.
        """

        def work(session: Session) -> UsageReport:
            found = session.execute(_totals(query)).all()
            more, found = len(found) > MOST_ROWS, found[:MOST_ROWS]
            few = 0 < len(found) <= MOST_PERCENTILES
            speeds = _speeds(session.execute(_buckets(query)), len(query.by)) if few else {}
            rows = tuple(_row(query.by, row, speeds) for row in found)
            return UsageReport(
                since=query.since, until=query.until, by=query.by, rows=rows, more=more,
                names=_names(session, rows) if "key" in query.by else {},
            )  # fmt: skip

        return await self._store.run(work, write=False)

    async def spent(self, period: Period, now: float | None = None) -> dict[str, float]:
        """What each key has cost in the period that `now` (Unix time) is in, by `Caller.id`; keys
        without a cost are left out.
        """
        start = start_of(period, time.time() if now is None else now)
        kept = (
            select(table.c.key, func.sum(table.c.cost))
            .where(table.c.at >= start, table.c.cost.is_not(None))
            .group_by(table.c.key)
        )
        gone = (
            select(trimmed.c.key, func.sum(trimmed.c.cost))
            .where(trimmed.c.day >= day_of(start))
            .group_by(trimmed.c.key)
        )

        def work(session: Session) -> dict[str, float]:
            sums: dict[str, float] = defaultdict(float)
            for query in (kept, gone):
                for key, cost in session.execute(query):
                    sums[key] += cost
            return dict(sums)

        return await self._store.run(work, write=False)

    async def trim(self, before: float, limit: int = 500) -> int:
        """Delete up to `limit` rows of requests that came before a Unix time, the oldest first; how
        many. What they have cost still counts for `spent`.
        """
        columns = table.c
        oldest = (
            select(columns.row, columns.key, columns.day, columns.cost)
            .where(columns.at < before)
            .order_by(columns.at)
            .limit(limit)
            .with_for_update(skip_locked=True)  # of those that another process deletes
        )

        def work(session: Session) -> int:
            rows = session.execute(oldest).all()
            sums: dict[tuple[str, int], float] = defaultdict(float)
            for row in rows:
                if row.cost:
                    sums[row.key, row.day] += row.cost
            for (key, day), cost in sums.items():
                _add_trimmed(session, key, day, cost)
            if rows:
                changed(session, delete(table).where(columns.row.in_([row.row for row in rows])))
            return len(rows)

        return await self._store.run(work)


def _add_trimmed(session: Session, key: str, day: int, cost: float) -> None:
    one = (trimmed.c.key == key) & (trimmed.c.day == day)
    if not changed(session, update(trimmed).where(one).values(cost=trimmed.c.cost + cost)):
        session.execute(insert(trimmed).values(key=key, day=day, cost=cost))


def _values(id: str, record: Record) -> Row:
    """A row that every database takes, in the order of the table's columns: texts clean and cut,
    numbers in range.
    """
    if not _is_sound(record):
        record = _mended(record)
    key, model, deployment, plugin, server, method, route, code = _cleaned(
        record.key, record.model, record.deployment, record.plugin, record.server,
        record.method, record.route, record.code or "",
    )  # fmt: skip
    at, seconds = record.at, record.seconds
    return (
        id, at, day_of(at), key, model, deployment, plugin, server, _text(record.id), method, route,
        record.status, code, record.streamed, record.aborted, record.attempts, record.prompt_tokens,
        record.completion_tokens, record.cached_tokens, record.estimated, seconds, record.queued,
        record.first, record.overhead, record.cost, bucket_of(seconds),
    )  # fmt: skip


def _is_sound(record: Record) -> bool:
    """Whether all numbers are as nearly always: finite, and such as an integer takes."""
    prompt, completion = record.prompt_tokens or 0, record.completion_tokens or 0
    times = record.at + record.seconds + record.queued + record.overhead + (record.first or 0.0)
    return (
        math.isfinite(times + (record.cost or 0.0))
        and -LARGEST <= prompt <= LARGEST
        and -LARGEST <= completion <= LARGEST
        and -LARGEST <= (record.cached_tokens or 0) <= LARGEST
    )


def _mended(record: Record) -> Record:
    whole = {name: _whole(getattr(record, name)) for name in WHOLE}
    numbers = {name: _number(getattr(record, name)) or 0.0 for name in NUMBERS}
    first, cost = _number(record.first), _number(record.cost)
    return replace(record, **whole, **numbers, first=first, cost=cost)  # type: ignore[arg-type]


@lru_cache(maxsize=4096)
def _cleaned(key: str, *others: str) -> tuple[str, ...]:
    """The same few for nearly all requests. The method is the sixth."""
    found = [_text(other) for other in others]
    found[4] = found[4][:32]
    return _text(key)[:255], *found


def _insert(connection: Connection, rows: Sequence[Row]) -> None:
    """Many rows to a statement: a driver lets go of the interpreter for each one, and the thread
    that answers requests has to give it back as often.
    """
    dialect, end = connection.dialect, len(rows) - len(rows) % TOGETHER
    for place in range(0, end, TOGETHER):
        values = tuple(chain.from_iterable(rows[place : place + TOGETHER]))
        connection.exec_driver_sql(_statement(dialect, TOGETHER), values)
    if end < len(rows):
        connection.exec_driver_sql(_statement(dialect), rows[end:])


@lru_cache(maxsize=16)
def _statement(dialect: Dialect, rows: int = 1) -> str:
    """The INSERT for all columns by their places: what SQLAlchemy does for each row costs as much
    as all the rest.
    """
    sign = "?" if dialect.paramstyle == "qmark" else "%s"
    quote = dialect.identifier_preparer.quote
    names = ", ".join(quote(column.name) for column in table.columns)
    signs = ", ".join([sign] * len(table.columns))
    every = ", ".join([f"({signs})"] * rows)
    return f"INSERT INTO {quote(table.name)} ({names}) VALUES {every}"


def _text(text: str, most: int = 300) -> str:
    cut = text[:most]
    return cut if cut.isascii() and "\0" not in cut else clean(cut)


def _whole(number: int | None) -> int | None:
    return None if number is None else max(-LARGEST, min(int(number), LARGEST))


def _number(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def bucket_of(seconds: float) -> int:
    """Of durations that are told apart: `STEPS` to a decade."""
    if seconds <= SHORTEST:
        return 0
    return math.ceil(STEPS * math.log10(seconds / SHORTEST))


def seconds_of(bucket: int) -> float:
    """The middle of a bucket."""
    return float(SHORTEST * 10 ** ((bucket - 0.5) / STEPS)) if bucket else SHORTEST


def _failed() -> ColumnElement[bool]:
    return or_(table.c.status >= 400, table.c.code != "") & ~table.c.aborted


def _counted(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _totals(query: UsageQuery) -> Select[Any]:
    columns = table.c
    groups = [columns[name] for name in query.by]
    tokens = func.coalesce(columns.prompt_tokens, 0) + func.coalesce(columns.completion_tokens, 0)
    count = func.count()
    order: list[Any] = [columns.day] if "day" in query.by else []
    asked = _narrowed(
        select(
            *groups, count, _counted(_failed()), _counted(columns.aborted.is_(True)),
            func.sum(columns.prompt_tokens), func.sum(columns.completion_tokens),
            func.sum(columns.cached_tokens), _counted(columns.estimated.is_(True)),
            func.sum(columns.cost), _counted(columns.cost.is_(None) & (tokens > 0)),
        ),
        query,
    )  # fmt: skip
    order += [count.desc(), *groups]
    return (asked.group_by(*groups).order_by(*order) if groups else asked).limit(MOST_ROWS + 1)


def _buckets(query: UsageQuery) -> Select[Any]:
    groups = [table.c[name] for name in query.by]
    asked = _narrowed(select(*groups, table.c.bucket, func.count()), query)
    return asked.where(~_failed(), ~table.c.aborted).group_by(*groups, table.c.bucket)


def _narrowed(asked: Select[Any], query: UsageQuery) -> Select[Any]:
    asked = asked.where(table.c.at >= query.since)
    if query.until is not None:
        asked = asked.where(table.c.at < query.until)
    for name, values in query.only.items():
        wanted = [_text(value) for value in values]
        one: ColumnElement[bool] = table.c[name].in_(wanted)
        if name == "key":
            named = select(keys.c.id).where(keys.c.name.in_(wanted))
            one = one | table.c.key.in_(named)
        asked = asked.where(one)
    return asked


def _names(session: Session, rows: Sequence[UsageRow]) -> dict[str, str]:
    """What people call the keys of these rows, where they are in the store."""
    wanted = sorted({row.group["key"] for row in rows})[:MOST_NAMES]
    found = select(keys.c.id, keys.c.name).where(keys.c.id.in_(wanted))
    return {row.id: row.name for row in session.execute(found)}


def _speeds(found: Iterable[Any], width: int) -> dict[tuple[Any, ...], dict[int, int]]:
    """How many requests of each group are in each bucket."""
    speeds: dict[tuple[Any, ...], dict[int, int]] = defaultdict(dict)
    for row in found:
        speeds[tuple(row[:width])][row[width]] = row[width + 1]
    return speeds


def percentile(buckets: dict[int, int], share: float) -> float | None:
    """Seconds that this share of requests did not take longer than; None for no requests."""
    left = share * sum(buckets.values())
    for bucket in sorted(buckets):
        left -= buckets[bucket]
        if left <= 0:
            return round(seconds_of(bucket), 4)
    return None


def _row(by: Sequence[str], row: Any, speeds: dict[tuple[Any, ...], dict[int, int]]) -> UsageRow:
    group, figures = tuple(row[: len(by)]), [*row[len(by) :]]
    requests, errors, aborted, prompt, completion, cached, estimated, cost, unpriced = figures
    buckets = speeds.get(group, {})
    named = {
        name: date_of(value) if name == "day" else value
        for name, value in zip(by, group, strict=True)
    }
    return UsageRow(
        group=named, requests=requests, errors=int(errors or 0), aborted=int(aborted or 0),
        prompt_tokens=int(prompt or 0), completion_tokens=int(completion or 0),
        cached_tokens=int(cached or 0), estimated=int(estimated or 0),
        cost=None if cost is None else round(float(cost), EXACT), unpriced=int(unpriced or 0),
        p50=percentile(buckets, 0.5), p95=percentile(buckets, 0.95),
    )  # fmt: skip
