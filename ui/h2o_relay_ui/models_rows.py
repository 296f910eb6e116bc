"""The models tab's rows and details as HTML; what somebody else chose is escaped in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from h2o_relay.admin import DeploymentView, Found, FoundModel, Tried

from .models_states import answers, is_pool, members, tone, word
from .words import NOTHING, counted, duration, seconds, text, whole

PAGE = 20  # rows on a page
LISTED = 12  # models of a server that a look shows by name
KINDS = {"chat": "chat", "text": "text"}
COLUMNS = ("Model", "State", "First token", "Context", "Can do", "Running", "Waiting")
NAMELESS = "(no model yet)"
Key = tuple[str, str]
"""What a row stands for: the entry's id and the model's name."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One page of rows."""

    views: tuple[DeploymentView, ...]
    page: int
    """From 0 on."""
    pages: int
    found: int
    """Rows on all pages."""


def key(view: DeploymentView) -> Key:
    return (view.id, view.name)


def chosen(views: Sequence[DeploymentView], wanted: Sequence[str] | None) -> DeploymentView | None:
    """The row that is selected. One whose name changed is known by its entry."""
    if not wanted:
        return None
    exact = (view for view in views if key(view) == tuple(wanted))
    return next(exact, None) or next((view for view in views if view.id == wanted[0]), None)


def page_of(views: Sequence[DeploymentView], find: str, page: int) -> Shown:
    """The rows in whose name, server or state all words of `find` are."""
    words = find.lower().split()
    found = [view for view in views if all(word in _searched(view) for word in words)]
    pages = max(1, -(-len(found) // PAGE))
    at = min(max(page, 0), pages - 1)
    return Shown(tuple(found[at * PAGE : (at + 1) * PAGE]), at, pages, len(found))


def _searched(view: DeploymentView) -> str:
    parts = (view.name, view.model, view.server, view.plugin or "", view.state, word(view))
    return " ".join(parts).lower()


def state_line(view: DeploymentView, now: float) -> str:
    """`offline for 3 min: connection refused`, as plain text."""
    line = f"{word(view)} for {duration(max(0.0, now - view.since))}"
    return f"{line}: {view.reason}" if view.reason else line


def abilities(view: DeploymentView) -> list[str]:
    words = [KINDS.get(kind, kind) for kind in view.kinds]
    return [*words, "images"] if view.vision else words


def summary(views: Sequence[DeploymentView]) -> str:
    """`5 models, 4 can answer. 1 pool`."""
    pools = [view for view in views if is_pool(view)]
    named = [view for view in views if view.name and not is_pool(view)]
    if not views:
        return '<div class="models-summary">No model yet.</div>'
    line = f"{counted(len(named), 'model')}, {sum(map(answers, named)):,} can answer"
    if pools:
        line += f". {counted(len(pools), 'pool')}"
    running = sum(view.running for view in named)
    waiting = sum(view.waiting for view in named) + sum(_queued(pool, named) for pool in pools)
    if running or waiting:
        line += f". {counted(running, 'request')} running, {waiting:,} waiting"
    return f'<div class="models-summary">{line}</div>'


def _queued(pool: DeploymentView, named: Sequence[DeploymentView]) -> int:
    """Requests that wait for any of its members; those at a member are counted there."""
    return max(0, pool.waiting - sum(v.waiting for v in named if v.name in pool.members))


def columns() -> str:
    cells = "".join(f"<span>{name}</span>" for name in COLUMNS)
    return f'<div class="models-line models-columns" aria-hidden="true">{cells}</div>'


def listed(views: Sequence[DeploymentView], selected: DeploymentView | None, now: float) -> str:
    """All rows of a page."""
    return "".join(card(n, view, now, view == selected) for n, view in enumerate(views, start=1))


def card(place: int, view: DeploymentView, now: float, selected: bool = False) -> str:
    """One row, the place's from 1 on; a card where there is little room (models.css)."""
    name = text(view.name) or NAMELESS
    marks = "".join(_mark(each) for each, on in (("pool", is_pool(view)), ("added", view.added),
                    ("hidden", not view.visible)) if on)  # fmt: skip
    line = text(state_line(view, now))
    classes = "models-line models-card" + (" is-chosen" if selected else "")
    classes += "" if view.visible else " is-hidden"
    chips = "".join(map(_mark, abilities(view))) or NOTHING
    return (
        f'<div class="{classes}" style="grid-row: {place}">'
        f'<span class="models-who"><span class="models-name">{name}{marks}</span>'
        f'<span class="models-server">{_served_by(view)}</span></span>'
        f'<span class="models-state">{_dot(view)}<span title="{line}">{line}</span></span>'
        f"{_fact('First token', seconds(view.latency))}"
        f"{_fact('Context', whole(view.max_context))}"
        f'<span class="models-can">{chips}</span>'
        f"{_fact('Running', str(view.running), zero=not view.running)}"
        f"{_fact('Waiting', str(view.waiting), zero=not view.waiting)}"
        "</div>"
    )


def _mark(word: str) -> str:
    return f'<span class="models-mark">{text(word, 40)}</span>'


def _served_by(view: DeploymentView) -> str:
    """The server and its kind; of a pool its members and how one is chosen."""
    if is_pool(view):
        return f"{text(', '.join(view.members))} · {text(view.strategy or '', 40)}"
    return f"{text(view.server)} · {text(view.plugin or 'unknown backend', 40)}"


def _dot(view: DeploymentView) -> str:
    return f'<span class="models-dot is-{tone(view)}"></span>'


def _fact(name: str, value: str, zero: bool = False) -> str:
    kind = " is-zero" if zero or value == NOTHING else ""
    return f'<span class="models-fact{kind}" data-name="{name}">{value}</span>'


def details(
    view: DeploymentView, together: int, now: float, states: Mapping[str, str] | None = None
) -> str:
    """The selected row in full; `together` models belong to its entry, `states` are the words for
    those of other rows, by name.
    """
    pool = is_pool(view)
    served = {
        "Members": text(", ".join(members(view, states or {})), 1000),
        "Strategy": text(view.strategy or "", 60),
    } if pool else {
        "Server": _served_by(view),
        "Its own name": text(view.model) if view.model != view.name else "",
        "Its load": _load(view),
    }  # fmt: skip
    facts = {
        "State": text(state_line(view, now), 1000),
        "Last error": _last_error(view, now),
        **served,
        "Context": f"{whole(view.max_context)} tokens" if view.max_context else "not known",
        "Prompt type": text(view.prompt_type or "", 60),
        "Answers": _answers(view),
    }
    if together > 1:
        facts["Entry"] = f"{together} models of one server, hidden, changed and removed together"
    return f'<div class="models-title">{text(view.name) or NAMELESS}</div>{pairs(facts)}'


def _last_error(view: DeploymentView, now: float) -> str:
    """With its age; "" where the state's reason says the same."""
    if not view.last_error or view.last_error in view.reason:
        return ""
    if view.last_error_at is None:
        return text(view.last_error, 1000)
    return f"{duration(max(0.0, now - view.last_error_at))} ago: {text(view.last_error, 1000)}"


def _load(view: DeploymentView) -> str:
    """Whoever sent the requests, as the server tells it."""
    if view.server_running is None and view.server_waiting is None:
        return ""
    running, waiting = view.server_running or 0, view.server_waiting or 0
    return f"{counted(running, 'request')} running, {waiting:,} waiting, from whomever"


def _answers(view: DeploymentView) -> str:
    if not view.requests:
        return "none so far"
    line = f"{counted(view.requests, 'request')}, {counted(view.tokens, 'token')}"
    return f"{line}, {view.failures:,} failed" if view.failures else line


def pairs(facts: Mapping[str, str]) -> str:
    """Names and values, which are HTML already; what has no value is left out."""
    rows = (f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items() if value)
    return f'<dl class="models-pairs">{"".join(rows)}</dl>'


def found(one: Found) -> str:
    """What a look at a server brought."""
    facts = {
        "Backend": text(one.plugin or "not recognised", 40),
        "Address": text(one.url or ""),
        "Models": "".join(_found_model(model) for model in one.models[:LISTED]) + _rest(one),
        "Can do": text(", ".join(KINDS.get(kind, kind) for kind in one.kinds)),
        "Problem": f'<span class="models-bad">{text(one.problem, 1000)}</span>'
        if one.problem else "",
    }  # fmt: skip
    return f'<div class="models-found">{pairs(facts)}</div>'


def _found_model(model: FoundModel) -> str:
    context = f" · {whole(model.max_context)} tokens" if model.max_context else ""
    return f"<div>{text(model.id)}{context}</div>"


def _rest(one: Found) -> str:
    more = len(one.models) - LISTED
    return f"<div>and {more:,} more</div>" if more > 0 else ""


def tried(name: str, result: Tried) -> str:
    """How a test ended."""
    took = seconds(result.seconds)
    if not result.ok:
        return problem(f"{name} failed after {took}: {result.text}")
    said = result.text.strip()
    return note(f"{name} answered in {took}" + (f": “{said}”" if said else "."), good=True)


def note(line: str, good: bool = False) -> str:
    return f'<div class="models-note{" is-good" if good else ""}">{text(line, 1000)}</div>'


def problem(line: str) -> str:
    return f'<div class="models-note is-bad">{text(line, 1000)}</div>'
