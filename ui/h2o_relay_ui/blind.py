"""Blind rounds: names are hidden, the columns are shuffled, and a vote tells them."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from string import ascii_uppercase

from h2o_relay.store import Vote

from .conversation import text_of
from .rounds import NONE, SKIPPED, TIE, Round

PROMPT_LENGTH = 2000  # characters of a prompt that are kept with a vote
_chance = random.SystemRandom()


def label(position: int) -> str:
    """`Model A` for the first column that is shown."""
    return f"Model {letter(position)}"


def letter(position: int) -> str:
    return ascii_uppercase[position % len(ascii_uppercase)]


def shuffled(slots: Sequence[str], chance: random.Random = _chance) -> list[str]:
    """The slots in an order that nobody can know."""
    return chance.sample(list(slots), len(slots))


def is_outcome(round: Round, outcome: str) -> bool:
    """Whether a blind round may end so now."""
    return round.can_vote and outcome in (*round.eligible, TIE, NONE, SKIPPED)


def vote(round: Round, outcome: str, conversation: str) -> Vote | None:
    """What a round's outcome says about its models; only those that answered took part.

    None where nothing is to be learned: it was skipped, or all answers are of one model.
    """
    slots = round.eligible
    models = tuple(str(round.answers[slot].get("model") or "") for slot in slots)
    if outcome == SKIPPED or len(set(models)) < 2:
        return None
    winners = {TIE: "", NONE: None}
    winner = winners[outcome] if outcome in winners else models[slots.index(outcome)]
    prompt = text_of(round.question)[:PROMPT_LENGTH]
    return Vote(models, winner, prompt, conversation, time.time())
