"""What the models tab is to show, as properties of its components, and who may do what."""

from __future__ import annotations

import time
from collections.abc import Sequence

from h2o_relay.admin import DeploymentView
from h2o_relay.hosts import is_for_this_machine

from . import models_rows as rows
from .context import Context, User
from .live import live
from .models_states import is_pool, words
from .watching import Props
from .words import counted

FIND_FROM = 8  # rows from which on a field to find one is worth its place
STALE = "The relay cannot be asked just now, and this is what was known last: "
LOCKED = "Models cannot be added or changed here: they are those of --model_lock."
OPEN = (
    "Models cannot be added or changed here, since this page is served beyond this machine and "
    "nobody signs in."
)
OFF = "Adding and changing models is switched off on this page."
POOL = "A pool is no server's: it is made, changed and removed in the relay's configuration."
GUEST = "Guests cannot add or change models."


def refusal(context: Context, user: User, view: DeploymentView | None = None) -> str:
    """Why somebody may not add, change or remove models, or this one; "" if they may."""
    if context.may_add:
        return GUEST if user.guest else POOL if view is not None and is_pool(view) else ""
    settings = context.settings
    if settings.add_models is None and settings.model_lock is not None:
        return LOCKED
    return OFF if settings.add_models is not None or is_for_this_machine(settings) else OPEN


async def wanted(
    context: Context, user: User, chosen: Sequence[str] | None, page: int, find: str
) -> tuple[dict[str, Props], list[rows.Key]]:
    """The properties by component, and what the rows stand for."""
    followed = live(context)
    views, now = await followed.views(), time.time()
    why = refusal(context, user)
    selected = rows.chosen(views, chosen)
    shown = rows.page_of(views, find, page)
    stale = rows.problem(STALE + followed.problem) if followed.problem else ""
    props: dict[str, Props] = {
        "summary": {"value": rows.summary(views)},
        "find": {"visible": len(views) >= FIND_FROM or bool(find)},
        "open": {"visible": not why},
        "note": {"value": stale + (rows.note(why) if why else "")},
        "list": {"value": rows.listed(shown.views, selected, now)},
        "columns": {"value": rows.columns() if shown.views else _empty(find, why)},
        "pager": {"visible": shown.pages > 1},
        "previous": {"interactive": shown.page > 0},
        "next": {"interactive": shown.page + 1 < shown.pages},
        "where": {"value": _where(shown)},
    }
    for number in range(rows.PAGE):
        there = number < len(shown.views)
        label = _label(shown.views[number]) if there else ""
        props[f"pick-{number}"] = {"value": label, "visible": there}
    props |= _panel(views, selected, why, now)
    return props, [rows.key(view) for view in shown.views]


def _label(view: DeploymentView) -> str:
    """What a screen reader calls the row's button."""
    return f"Select {view.name or view.server}"


def _empty(find: str, why: str) -> str:
    if find:
        return rows.note("No model or server has all these words in it.")
    return rows.note("No model is served yet." + ("" if why else " Add one with its server."))


def _where(shown: rows.Shown) -> str:
    first = shown.page * rows.PAGE + 1
    last = first + len(shown.views) - 1
    return f'<div class="models-where">{first:,} to {last:,} of {counted(shown.found, "row")}</div>'


def _panel(
    views: Sequence[DeploymentView], view: DeploymentView | None, why: str, now: float
) -> dict[str, Props]:
    if view is None:
        return {"panel": {"visible": False}}
    together = sum(other.id == view.id for other in views)
    return {
        "panel": {"visible": True},
        "details": {"value": rows.details(view, together, now, words(views))},
        "test": {"interactive": bool(view.name)},
        "load": {"visible": view.loadable and not why},
        "unload": {"visible": view.loadable and not why},
        "hide": {
            "visible": not why and not is_pool(view),
            "value": "Hide" if view.visible else "Show",
        },
        "edit": {"visible": view.added and not why},
        "remove": {"visible": view.added and not why},
    }
