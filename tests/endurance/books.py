"""What a relay has written down of the requests that are over: store, request log, metrics."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from prometheus_client.parser import text_string_to_metric_families

from .callers import Seen

OTHER = "other"  # an upstream's own code, in log and metrics
GONE = 499


@dataclass(frozen=True, slots=True)
class Row:
    """A request as the store or the log has it."""

    id: str
    route: str
    status: int
    code: str
    key: str
    model: str
    aborted: bool
    prompt_tokens: int | None
    completion_tokens: int | None

    @property
    def shown(self) -> tuple[Any, ...]:
        """What store and log must agree on."""
        return (self.id, self.route, self.status, self.key, self.model, self.aborted,
                self.prompt_tokens, self.completion_tokens)  # fmt: skip


def in_store(path: Path) -> list[Row]:
    """Of a SQLite file, which a relay may be using."""
    names = "request, route, status, code, key, model, aborted, prompt_tokens, completion_tokens"
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        found = connection.execute(f"SELECT {names} FROM usage").fetchall()
    return [Row(*row[:6], bool(row[6]), *row[7:]) for row in found]


def in_log(path: Path) -> list[Row]:
    """Of a file of JSON lines; every line is whole."""
    return [_row(orjson.loads(line)) for line in path.read_bytes().splitlines()]


def _row(line: dict[str, Any]) -> Row:
    return Row(
        line["id"], line["route"], line["status"], line["code"] or "", line["key"], line["model"],
        line["aborted"], line["prompt_tokens"], line["completion_tokens"],
    )  # fmt: skip


class Metrics:
    """A page of /metrics."""

    def __init__(self, text: str) -> None:
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def sum(self, name: str, **labels: str) -> float:
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def requests(self) -> Counter[tuple[str, str]]:
        """How many are over, by route and status."""
        found: Counter[tuple[str, str]] = Counter()
        for sample in self._samples:
            if sample.name == "h2o_requests_total":
                found[sample.labels["route"], sample.labels["status"]] += int(sample.value)
        return found


def counted(rows: Iterable[Row]) -> Counter[tuple[str, str]]:
    """The same of rows."""
    return Counter((row.route, str(row.status)) for row in rows)


def faults(seen: Mapping[str, Seen], rows: Iterable[Row]) -> dict[str, list[str]]:
    """What is wrong with rows, with some ids: each request is there once, as its caller saw it."""
    found: dict[str, list[str]] = defaultdict(list)
    by_id: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_id[row.id].append(row)
    for id in by_id.keys() - seen.keys():
        found["nobody sent it"].append(id)
    for id, one in seen.items():
        there = by_id.get(id, [])
        if len(there) != 1:
            found[f"{one.kind.name}: is there {len(there)} times"].append(id)
        for why in _differences(one, there[0]) if there else ():
            found[f"{one.kind.name}: {why}"].append(id)
    return {why: [f"{len(ids)} of them", *ids[:3]] for why, ids in found.items()}


def _differences(seen: Seen, row: Row) -> Iterator[str]:
    kind = seen.kind
    if row.aborted != bool(kind.leaves):
        yield f"aborted is {row.aborted}"
    if seen.status is not None and row.status != seen.status:
        yield f"status {row.status}, its caller saw {seen.status}"
    if kind.leaves and seen.status is None and row.status != GONE:
        yield f"status {row.status}, though nobody was answered"
    if not kind.leaves and seen.code is not None and row.code not in (seen.code, OTHER):
        yield f"code {row.code!r}, its caller saw {seen.code!r}"
    if not kind.leaves and seen.code is None and row.status == 200 and row.code:
        yield f"code {row.code!r} of one that went well"
    keyed = {"good": True, "none": False, "wrong": False}[kind.key]
    if keyed == (row.key in ("", "open")):
        yield f"key {row.key!r}"
    if kind.name in TOLD and (row.prompt_tokens, row.completion_tokens) != TOLD[kind.name]:
        yield f"tokens {row.prompt_tokens}+{row.completion_tokens}"
    if kind.name in GENERATED and not row.completion_tokens:
        yield "no tokens"


TOLD = {"whole": (3, 5), "text": (3, 5)}
"""Tokens that the upstream tells of."""
GENERATED = frozenset({"stream", "text stream", "response", "message"})
