"""Blind rounds: their order and their votes."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from h2o_relay_ui.blind import is_outcome, label, letter, shuffled, vote
from h2o_relay_ui.rounds import NONE, SKIPPED, TIE, Round, answer, question


def ended(**models: str) -> Round:
    """A round in which these slots (`s0` ...) were answered by these models; "" failed."""
    put = question("Which?", list(models), blind=True)
    answers = {}
    for slot, model in models.items():
        answers[slot] = {
            **answer(model or "dead", "", slot),
            "content": "words" if model else "",
            "state": "done" if model else "failed",
        }
    return Round(put, answers)


def test_columns_are_named_by_letters() -> None:
    assert [label(at) for at in (0, 1, 15)] == ["Model A", "Model B", "Model P"]
    assert letter(2) == "C"


def test_every_order_is_as_likely() -> None:
    chance = random.Random(1)
    seen = Counter("".join(shuffled("abc", chance)) for _ in range(6000))
    assert len(seen) == 6
    assert all(850 < count < 1150 for count in seen.values())
    assert sorted(shuffled(["0", "1", "2"])) == ["0", "1", "2"]


@pytest.mark.parametrize(("outcome", "winner"), [("s1", "b"), (TIE, ""), (NONE, None)])
def test_a_vote_names_models_and_no_columns(outcome: str, winner: str | None) -> None:
    told = vote(ended(s0="a", s1="b", s2="c"), outcome, "id")
    assert told is not None
    assert (told.models, told.winner) == (("a", "b", "c"), winner)
    assert (told.prompt, told.conversation) == ("Which?", "id")


def test_who_gave_no_answer_took_no_part() -> None:
    told = vote(ended(s0="a", s1="", s2="c"), "s0", "id")
    assert told is not None
    assert told.models == ("a", "c")


def test_nothing_is_learned_from_a_model_beside_itself_nor_from_a_skipped_vote() -> None:
    assert vote(ended(s0="a", s1="a"), "s0", "id") is None
    assert vote(ended(s0="a", s1="b"), SKIPPED, "id") is None


def test_what_a_round_may_end_with() -> None:
    round = ended(s0="a", s1="", s2="c")
    for outcome in ("s0", "s2", TIE, NONE, SKIPPED):
        assert is_outcome(round, outcome)
    for outcome in ("s1", "s9", "", "done"):
        assert not is_outcome(round, outcome)
    round.question["vote"] = TIE
    assert not is_outcome(round, "s0")
