"""What the chat tab shows besides its thread: the models to choose from, how full the context is,
and the lines around the thread. All pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from h2o_relay.admin import DeploymentView
from h2o_relay.prompts.fit import estimate

from .conversation import for_model, text_of
from .models_states import answers, word
from .thread import Message
from .words import text

GONE = "not there any more"
TEMPORARY = "Temporary chat. It is not saved, and is gone when this page is closed or reloaded."
NEARLY_FULL = 0.8  # of the context
DIGITS = 15  # of a context length that means one
IMAGE_TOKENS = 600  # that an image may have, where nothing counts: models differ widely
LEFT_OUT = "left out"
"""What a note says of messages that did not fit (`notes.in_words`, `chats.LEFT_OUT`)."""
Choice = tuple[str, str]


def choices(views: Iterable[DeploymentView], chosen: str | None) -> list[Choice]:
    """The visible models, those that can answer first, the others each with its state; and the
    chosen one even if it is none of them.
    """
    views = list(views)
    best: dict[str, DeploymentView] = {}
    for view in views:
        if view.name and view.visible and not (view.name in best and answers(best[view.name])):
            best[view.name] = view
    shown = sorted(best.values(), key=lambda view: not answers(view))
    found = [(_label(view), view.name) for view in shown]
    if chosen and chosen not in best:
        hidden = any(view.name == chosen for view in views)
        found.append((chosen if hidden else f"{chosen} ({GONE})", chosen))
    return found


def _label(view: DeploymentView) -> str:
    return view.name if answers(view) else f"{view.name} ({word(view)})"


def first_choice(views: Sequence[DeploymentView], *wishes: str | None) -> str | None:
    """The first of the wishes that is there, else the first model that can answer, else the
    first.
    """
    named = [view for view in views if view.name and view.visible]
    names = {view.name for view in named}
    wished = next((wish for wish in wishes if wish and wish in names), None)
    if wished is not None:
        return wished
    able = (view.name for view in named if answers(view))
    return next(able, None) or next((view.name for view in named), None)


def view_of(views: Iterable[DeploymentView], name: str | None) -> DeploymentView | None:
    return next((view for view in views if name and view.name == name), None)


@dataclass(frozen=True, slots=True)
class Fill:
    """How full a model's context is. Counts are tokens."""

    used: int
    limit: int | None
    """None where nobody knows it."""
    estimated: bool
    trimmed: str
    """What was left out of the last answer's request, in a sentence; "" if nothing was."""


def fill(
    messages: Sequence[Message], view: DeploymentView | None, texts: Mapping[str, str]
) -> Fill:
    """As its server counted the last answer, where nothing came after that, else estimated."""
    limit = (view.max_context if view is not None else None) or None
    own = (texts.get("context") or "").strip()
    if own.isdecimal() and len(own) <= DIGITS and int(own):  # it is read while it is typed
        limit = min(int(own), limit or int(own))
    last = messages[-1] if messages else {}
    figures = last.get("figures") or {}
    prompt, tokens = figures.get("prompt_tokens"), figures.get("tokens")
    phrases = [note for note in last.get("notes") or () if LEFT_OUT in note]
    trimmed = " ".join(f"{phrase[:1].upper()}{phrase[1:]}." for phrase in phrases)
    if prompt is not None and last.get("state") != "running":
        return Fill(prompt + (tokens or 0), limit, bool(figures.get("estimated")), trimmed)
    return Fill(_estimated(messages, texts.get("system") or ""), limit, True, trimmed)


def _estimated(messages: Sequence[Message], system: str) -> int:
    told = for_model(messages, system)
    images = sum(
        part.get("type") == "image_url"
        for message in told
        if isinstance(message["content"], list)
        for part in message["content"]
    )
    words = "\n\n".join(map(text_of, told))
    return (estimate(words) if words else 0) + images * IMAGE_TOKENS


def meter(now: Fill) -> str:
    """A bar and its figures, as HTML; "" for an empty chat."""
    if not now.used:
        return ""
    about = "about " if now.estimated else ""
    if now.limit is None:
        return f'<div class="meter"><span>Context: {about}{now.used:,} tokens</span></div>'
    share = min(now.used / now.limit, 1.0)
    full = " full" if share >= NEARLY_FULL else ""
    line = f"Context: {about}{now.used:,} of {now.limit:,} tokens, {share:.0%}"
    more = f"<span>{text(now.trimmed)}</span>" if now.trimmed else ""
    return (
        f'<div class="meter{full}"><div class="bar"><div style="width: {share:.1%}"></div></div>'
        f"<span>{line}</span>{more}</div>"
    )


def marker(id: str) -> str:
    """What the page's script reads the conversation's id from, for the address."""
    return f'<span data-conversation="{text(id)}"></span>'


def empty(problem: str) -> str:
    """What an empty thread says; Markdown."""
    if problem:
        return f"### No model can be asked yet\n\n{problem}"
    return "### Ask anything\n\nEnter sends · Shift + Enter starts a new line · Esc stops"


def options_of(settings: Any) -> dict[str, str]:
    """The options of a conversation, as they are stored."""
    given = settings.get("options") if isinstance(settings, Mapping) else None
    return {str(n): str(v) for n, v in given.items()} if isinstance(given, Mapping) else {}
