"""What `h2o status` knows of each model, whichever of the relay's lists it is from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

NOBODY = "there is no such model"
SILENT = "the relay does not tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A model; or a server of which no model is known, whose `model` is None. None where the list
    does not tell.
    """

    model: str | None
    server: str | None = None
    """The server string, its secrets masked; only those who administer the relay are told."""
    state: str = "unknown"
    """`health.State`."""
    reason: str = ""
    since: float | None = None
    """Unix time."""
    latency: float | None = None
    """Seconds to the first token."""
    running: int | None = None
    waiting: int | None = None
    server_running: int | None = None
    server_waiting: int | None = None
    """Whoever sent them, where the server tells."""
    last_error: str = ""
    last_error_at: float | None = None
    """Unix time."""
    members: tuple[str, ...] = ()
    """Of a pool."""
    strategy: str | None = None
    """Of a pool."""
    listed: bool = True

    @property
    def answers(self) -> bool:
        from ..health import ANSWERING

        return self.model is not None and self.state in ANSWERING


SAME = ("state", "reason", "since", "latency", "running", "waiting", "server_running",
        "server_waiting", "last_error", "last_error_at", "strategy")  # fmt: skip
"""What both lists call as a row does."""


def of_view(view: Mapping[str, Any]) -> Row:
    """A deployment as /admin has it (`admin.DeploymentView`)."""
    pool = bool(view.get("members"))
    server = None if pool else view.get("server")
    row = Row(model=view.get("name") or None, server=server, listed=bool(view.get("visible", True)))
    return _filled(row, view)


def of_model(entry: Mapping[str, Any]) -> Row:
    """A model as /v1/models has it; a relay that is older than this command tells no state."""
    told = entry.get("h2o")
    row = Row(model=str(entry.get("id")))
    return replace(row, reason=SILENT) if not isinstance(told, Mapping) else _filled(row, told)


def _filled(row: Row, told: Mapping[str, Any]) -> Row:
    given = {name: told[name] for name in SAME if told.get(name) is not None}
    return replace(row, members=tuple(told.get("members") or ()), **given)


def chosen(rows: Sequence[Row], names: Iterable[str]) -> list[Row]:
    """The rows of these names, or all; one for a name that nobody has."""
    wanted = list(names)
    if not wanted:
        return list(rows)
    known = [row.model for row in rows if row.model is not None]
    found: list[Row] = []
    for name in wanted:
        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        own = [row for row in rows if row.model == name]
        found += own or [Row(model=name, reason=NOBODY + hint)]
    return found
