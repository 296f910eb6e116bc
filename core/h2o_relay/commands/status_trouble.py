"""What is wrong with a relay itself, beside its servers, as `h2o status` tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .failures import Failure
from .printable import one_line
from .relay_client import RelayClient
from .status_table import duration

ADMIN = "/admin/trouble"
HEALTH = "/health"
HIDDEN = "something is wrong with its keys, limits or usage"
ASK = "its log says what, and so does this command with the admin key"
LONGEST = 600  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    part: str | None
    """`keys`, `limits`, `usage`; None where the relay does not tell who asks."""
    problem: str
    since: float | None = None
    """Unix time."""
    advice: str = ""


async def troubles(relay: RelayClient) -> tuple[Trouble, ...]:
    """What there is now. Nothing where the relay cannot be asked: who lists the models says so."""
    try:
        if relay.admin:
            return _told(await relay.ask("GET", ADMIN, relay.admin))
    except Failure:  # it is no admin key, or the relay is older than this command
        pass
    try:
        data = await relay.ask("GET", HEALTH, None)
    except Failure:
        return ()
    hidden = isinstance(data, Mapping) and bool(data.get("trouble"))
    return (Trouble(part=None, problem=HIDDEN, advice=ASK),) if hidden else ()


def _told(data: Any) -> tuple[Trouble, ...]:
    found = data.get("data") if isinstance(data, Mapping) else None
    return tuple(
        Trouble(
            part=str(each.get("part")), problem=str(each.get("problem")), since=each.get("since"),
            advice=str(each.get("advice") or ""),
        )
        for each in (found if isinstance(found, list) else ())
        if isinstance(each, Mapping)
    )  # fmt: skip


def lines(found: Iterable[Trouble], now: float) -> list[str]:
    """For people, a line each."""
    said = []
    for one in found:
        when = "" if one.since is None else f" (for {duration(now - one.since)})"
        part = "" if one.part is None else f"{one.part}: "
        advice = f": {one.advice}" if one.advice else ""
        said.append(one_line(f"{part}{one.problem}{when}{advice}", LONGEST))
    return said
