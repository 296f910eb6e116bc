"""A comparison as a file: Markdown to read, JSON with everything."""

from __future__ import annotations

from typing import Literal

import orjson

from h2o_relay.store import Conversation

from .conversation import text_of
from .exporting import as_json
from .rounds import NONE, SKIPPED, TIE, Round, rounds_of
from .showing import figures, notes
from .thread import Message

Kind = Literal["md", "json"]
VERDICTS = {TIE: "a tie", NONE: "none is good", SKIPPED: "skipped"}


def exported(conversation: Conversation, kind: Kind) -> str:
    """The file's text."""
    if kind == "json":
        return orjson.dumps(as_json(conversation), option=orjson.OPT_INDENT_2).decode() + "\n"
    return markdown(conversation)


def markdown(conversation: Conversation) -> str:
    """Each question, then each answer with its model and figures."""
    parts = [f"# {' '.join(conversation.title.split()) or 'Comparison'}"]
    for number, each in enumerate(rounds_of(conversation.messages), 1):
        parts += [f"## Question {number}", text_of(each.question)]
        for slot in each.slots:
            if slot in each.answers:
                parts += _answer(each.answers[slot])
        if each.question.get("blind") and each.vote is not None:
            parts.append(f"**Vote:** {_verdict(each)}")
    return "\n\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"


def _answer(answer: Message) -> list[str]:
    error = answer.get("error") or {}
    told = [f"### {answer.get('model') or 'Unknown model'}"]
    if answer.get("reasoning"):
        told += ["**Reasoning**", str(answer["reasoning"]), "**Answer**"]
    told.append(text_of(answer))
    if error:
        told.append(f"**No whole answer:** {error.get('message') or ''}")
    return [*told, " · ".join(figures(answer)), notes(answer)]


def _verdict(each: Round) -> str:
    winner = each.answers.get(each.vote or "")
    return str(winner.get("model")) if winner else VERDICTS.get(each.vote or "", "")
