"""A comparison's messages in rounds: a question, and the answers of the columns that were asked.

They are kept as a conversation's messages (`thread`) in one list. A question has besides

- `slots`: the columns that were asked, in the order in which they are shown
- `blind`: whether names are hidden until there is a vote
- `vote`: a slot, `TIE`, `NONE` or `SKIPPED`, once there is one
- `chosen`: the slot whose answer a shared history goes on with, once somebody has chosen

and an answer its `slot`. A slot is a column's name within a comparison, and is never used again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from . import thread
from .conversation import text_of
from .thread import Message

TIE, NONE, SKIPPED = "tie", "none", "skipped"
ENDED = ("done", "stopped")


@dataclass(slots=True)
class Round:
    question: Message
    answers: dict[str, Message] = field(default_factory=dict)
    """By slot."""

    @property
    def slots(self) -> list[str]:
        return [str(slot) for slot in self.question.get("slots") or ()]

    @property
    def vote(self) -> str | None:
        return self.question.get("vote")

    @property
    def ended(self) -> bool:
        """Nobody answers any more."""
        return all(answer.get("state") != "running" for answer in self.answers.values())

    @property
    def eligible(self) -> list[str]:
        """The slots whose answers can be voted for, in the order in which they are shown."""
        return [slot for slot in self.slots if is_answer(self.answers.get(slot))]

    @property
    def hidden(self) -> bool:
        """The names are not told yet. Where there is nothing to vote on they are not kept back."""
        if not self.question.get("blind") or self.vote is not None:
            return False
        return not self.ended or len(self.eligible) > 1

    @property
    def can_vote(self) -> bool:
        return self.hidden and self.ended

    @property
    def lead(self) -> str | None:
        """The slot whose answer a shared history goes on with: the chosen one, the vote's winner
        or the first that answered. None where nobody did.
        """
        wanted = (self.question.get("chosen"), self.vote, *self.slots)
        good = self.eligible
        return next((slot for slot in wanted if slot in good), None)


def is_answer(message: Message | None) -> bool:
    """It has ended, did not fail, and says something."""
    return bool(message and message.get("state") in ENDED and text_of(message).strip())


def question(text: str, slots: Sequence[str], *, blind: bool) -> Message:
    return {**thread.question(text), "slots": list(slots), "blind": blind}


def answer(model: str, server: str, slot: str) -> Message:
    return {**thread.answer(model, server), "slot": slot}


def rounds_of(messages: Iterable[Message]) -> list[Round]:
    found: list[Round] = []
    for message in messages:
        if message.get("role") == "user":
            found.append(Round(message))
        elif found and message.get("slot"):
            found[-1].answers[str(message["slot"])] = message
    return found


def history(rounds: Iterable[Round], slot: str, *, shared: bool) -> list[Message]:
    """What a column is told of these rounds.

    With a shared history every question and the answer that leads; else the questions that this
    column was asked, with its own answers.
    """
    told: list[Message] = []
    for each in rounds:
        heard = each.lead if shared else slot if slot in each.answers else None
        if heard is None and not shared:
            continue
        told.append(each.question)
        if heard is not None:
            told.append(each.answers[heard])
    return told


def changed(messages: Iterable[Message], id: str, **changes: object) -> list[Message]:
    """The messages, the one of this id with these keys."""
    return [{**m, **changes} if m.get("id") == id else m for m in messages]


def with_answer(messages: Sequence[Message], question_id: str, new: Message) -> list[Message]:
    """The messages with an answer to this question, in the place of the slot's former one."""
    found: list[Message] = []
    here = False
    for message in messages:
        if message.get("role") == "user":
            if here:
                found.append(new)
            here = message.get("id") == question_id
        elif here and message.get("slot") == new["slot"]:
            continue
        found.append(message)
    return [*found, new] if here else found
