"""What one column of a comparison shows: its thread, and the line under it. All pure."""

from __future__ import annotations

from dataclasses import dataclass

from .blind import label
from .comparison import Column, Comparison
from .conversation import escaped
from .rounds import Round
from .showing import Row, figures, notes, rows
from .thread import Message
from .words import text

FIGURES_HIDDEN = "Told after the vote"
ERROR_HIDDEN = {"message": "Why is told after the vote.", "code": None, "status": None}
VOTED = "Your vote"
LEADS = "The thread goes on with this answer"
WENT_ON = "The thread went on with another answer, by {}."
STOPPED = "Stopped before the first word."
SMALL = "</small>"
LIMIT = 2000  # characters of an answer's notes


@dataclass(frozen=True, slots=True)
class Face:
    """A column as it is now."""

    thread: list[Row]
    foot: str
    """HTML: the figures."""
    marks: str
    """HTML that is not seen. Its classes tell the style sheet what can be done: that costs a page
    much less than five buttons that are shown and hidden. It is apart from the foot, since with
    every change of it the style of the column is worked out anew."""


EMPTY = Face([], "", "")


def face(comparison: Comparison, column: Column, position: int) -> Face:
    """`position` is the column's place on the page, which gives it its letter."""
    last = comparison.last
    if last is None:
        return Face([], "", _marks(_many(comparison)))
    mask = label(position) if comparison.hidden else ""
    thread: list[Row] = []
    for each in comparison.rounds[:-1]:
        if not comparison.hidden:  # who has seen a name beside a style knows it again
            thread += _earlier(each, column.slot, shared=comparison.setup.shared)
    answer, flags = last.answers.get(column.slot), _flags(comparison, last, column.slot)
    if answer is not None:
        again = "at-retry" in flags
        thread += [*rows(last.question), *_answer(answer, mask, again=again)]
    return Face(thread, _foot(_lines(comparison, last, column.slot, mask)), _marks(flags))


def _answer(answer: Message, mask: str, *, again: bool) -> list[Row]:
    """The newest answer; its figures are in the foot. `again`: it can be asked for again."""
    found = rows(masked(answer, mask) if mask else answer)
    if answer.get("state") == "running":
        return found
    *kept, quiet = found
    if not kept:
        kept.append(_said(f"<small>{STOPPED}{SMALL}"))
    if again:
        kept[-1]["options"] = quiet["options"]
    return kept


def masked(answer: Message, name: str) -> Message:
    """The answer without what tells the model by its name, its server or its error."""
    error = ERROR_HIDDEN if answer.get("error") else None
    return {**answer, "model": name, "server": "", "notes": [], "error": error}


def faces(comparison: Comparison) -> list[Face]:
    return [face(comparison, column, at) for at, column in enumerate(comparison.arranged)]


def _earlier(each: Round, slot: str, *, shared: bool) -> list[Row]:
    """A round before the last, as this column knows it."""
    own, lead = each.answers.get(slot), each.lead if shared else None
    if own is None and lead is None:
        return rows(each.question) if shared else []
    if own is None and lead is not None:
        return [*rows(each.question), *rows(each.answers[lead])]
    *found, figured = [*rows(each.question), *rows(own or {})]
    if lead is not None and lead != slot:
        line = WENT_ON.format(each.answers[lead].get("model") or "another model")
        told = str(figured["content"][0]["text"]).removesuffix(SMALL)
        figured = _said(f"{told}<br>{escaped(line)}{SMALL}")
    return [*found, {**figured, "options": []}]


def _said(text: str) -> Row:
    part = {"type": "text", "text": text}
    return {"role": "assistant", "content": [part], "metadata": {}, "options": []}


def _many(comparison: Comparison) -> list[str]:
    return ["at-many"] if len(comparison.setup.columns) > 1 else []


def _flags(comparison: Comparison, last: Round, slot: str) -> list[str]:
    """What the column is in, and what can be done to it."""
    answer, hidden, several = last.answers.get(slot), comparison.hidden, _many(comparison)
    running = answer is not None and answer.get("state") == "running"
    good = slot in last.eligible
    blind = bool(last.question.get("blind"))
    told = {
        "at-begun": True,
        "at-running": running,
        "at-hidden": hidden,
        "at-blind": blind,
        "at-retry": not running and not (blind and last.vote),
        "at-many": bool(several) and not hidden,
        "at-vote": last.can_vote and good,
        "at-won": last.vote == slot,
        "at-choose": comparison.setup.shared and bool(several) and not hidden and last.ended
        and good and slot != last.lead,
    }  # fmt: skip
    return [name for name, on in told.items() if on]


def _lines(comparison: Comparison, last: Round, slot: str, mask: str) -> list[str]:
    """What is said under the thread."""
    answer = last.answers.get(slot)
    if answer is None:
        return []
    if mask:
        return [FIGURES_HIDDEN]
    lines = [" · ".join(figures(answer)), notes(answer)]
    if last.vote == slot:
        lines.append(VOTED)
    leads = last.ended and slot == last.lead and comparison.setup.shared
    if leads and len(comparison.setup.columns) > 1:
        lines.append(LEADS)
    return lines


def _foot(lines: list[str]) -> str:
    return "".join(f"<div>{text(line, LIMIT)}</div>" for line in lines if line)


def _marks(flags: list[str]) -> str:
    return f'<span class="{" ".join(flags)}"></span>'


ASK = "Which answer is best?"
ASK_TWO = "Which answer is better?"
TOLD = "This is who answered."


def notice(comparison: Comparison) -> str:
    """What is said above the box."""
    last = comparison.last
    if last is None or not last.question.get("blind"):
        return ""
    if last.can_vote:
        return ASK_TWO if len(last.eligible) == 2 else ASK
    return "" if last.hidden else TOLD


def said(line: str) -> str:
    """A notice as HTML."""
    return f'<div class="at-said">{text(line, LIMIT)}</div>' if line else ""
