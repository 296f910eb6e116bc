"""What is asked of the usage that is kept, and told: `h2o usage`, `/admin/usage`, the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

from ..errors import InvalidRequest
from ..lock.errors import nearest
from .dimensions import DIMENSIONS, FILTERS, PARAMETERS, SINCE
from .periods import moment

MOST_ROWS: Final = 10_000
MOST_VALUES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """Requests that came from `since` to before `until`, Unix times (None: no end)."""

    by: tuple[str, ...] = ("key",)
    """Of `DIMENSIONS`; without one a single row is the sum of all."""
    since: float = 0.0
    until: float | None = None
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By the names of `FILTERS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """The requests of one group. What they used is also counted for those that failed."""

    group: Mapping[str, str]
    """By the query's `by`."""
    requests: int
    errors: int
    """Answered with a status of 400 or above, or broken off with an error."""
    aborted: int
    """Whose caller left before the end; no errors."""
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    """Among those of the prompts."""
    estimated: int
    """Requests whose tokens the relay has guessed."""
    cost: float | None
    """None where no request had a price."""
    unpriced: int
    """Requests with tokens that are not in the cost: their model had no price."""
    p50: float | None = None
    """Seconds until the last byte, of those that were answered; within 3 %."""
    p95: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReport:
    """`rows` by day where that is asked for, then the most requests first."""

    since: float
    until: float | None
    by: tuple[str, ...]
    rows: tuple[UsageRow, ...]
    more: bool = False
    """There are more than `MOST_ROWS`, which are left out."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What people call the keys, by their ids; only keys of the store have a name."""
    currency: str = ""
    """The prices' as they are now; "" where only the store was asked, which does not know it."""
    trouble: str = ""
    """Why what is told may not be all, "" if it is."""

    def data(self) -> dict[str, Any]:
        """As `/admin/usage` sends it; `read_report` reads it."""
        return {"object": "list", **asdict(self), "data": [asdict(row) for row in self.rows]} | {
            "rows": len(self.rows)
        }


def read_report(data: Mapping[str, Any]) -> UsageReport:
    """What `data` wrote, also of another version. Raises KeyError, TypeError for what is none."""
    known = {item.name for item in fields(UsageRow)}
    rows = tuple(UsageRow(**{k: v for k, v in row.items() if k in known}) for row in data["data"])
    rest = {item.name for item in fields(UsageReport)} - {"rows", "by"}
    given = {name: data[name] for name in rest if name in data}
    return UsageReport(rows=rows, by=tuple(data["by"]), **given)


def parameters(query: UsageQuery) -> list[tuple[str, str]]:
    """The query as `read_query` reads it."""
    until = [] if query.until is None else [("until", f"{query.until:.6f}")]
    only = [(name, value) for name, values in query.only.items() for value in values]
    return [("by", ",".join(query.by)), ("since", f"{query.since:.6f}"), *until, *only]


def read_query(given: Mapping[str, Sequence[str]], now: float) -> UsageQuery:
    """A query of texts by the names of `PARAMETERS`; `by` may be said several times, or with commas
    between. `now` is the Unix time. Raises InvalidRequest, naming the parameter.
    """
    for name in given:
        if name not in PARAMETERS:
            hint = nearest(name, PARAMETERS) or f"; there are {', '.join(PARAMETERS)}"
            raise InvalidRequest(
                f"There is no parameter {name[:60]!r} here{hint}.", param=name[:60]
            )
    since = moment(_one(given, "since") or SINCE, now, "since")
    end = _one(given, "until")
    until = None if not end else moment(end, now, "until")
    if until is not None and until <= since:
        raise InvalidRequest("'until' is not after 'since'.", param="until")
    only = {name: tuple(given[name]) for name in FILTERS if given.get(name)}
    if any(len(values) > MOST_VALUES for values in only.values()):
        raise InvalidRequest(f"At most {MOST_VALUES} values of one parameter.")
    return UsageQuery(by=_by(given.get("by")), since=since, until=until, only=only)


def _by(given: Sequence[str] | None) -> tuple[str, ...]:
    if given is None:
        return ("key",)
    words = [word.strip() for text in given for word in text.split(",")]
    names = tuple(dict.fromkeys(word for word in words if word))
    for name in names:
        if name not in DIMENSIONS:
            hint = nearest(name, DIMENSIONS) or f"; there are {', '.join(DIMENSIONS)}"
            raise InvalidRequest(f"Usage is not told by {name[:60]!r}{hint}.", param="by")
    return names


def _one(given: Mapping[str, Sequence[str]], name: str) -> str:
    values = given.get(name) or ("",)
    if len(values) > 1:
        raise InvalidRequest(f"{name!r} is given more than once.", param=name)
    return values[0]
