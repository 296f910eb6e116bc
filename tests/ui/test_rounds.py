"""A comparison's messages in rounds."""

from __future__ import annotations

from typing import Any

import pytest

from h2o_relay_ui.rounds import (
    NONE,
    SKIPPED,
    TIE,
    Round,
    answer,
    history,
    question,
    rounds_of,
    with_answer,
)
from h2o_relay_ui.thread import Message


def said(slot: str, text: str, state: str = "done", **more: Any) -> Message:
    return {**answer(f"model {slot}", "", slot), "content": text, "state": state, **more}


def asked(text: str, *slots: str, **more: Any) -> Message:
    return {**question(text, slots, blind=False), **more}


TALK = [
    asked("one", "0", "1"), said("0", "uno"), said("1", "eins"),
    asked("two", "0", "1", "2"), said("0", "due"), said("1", "zwei"), said("2", "deux"),
]  # fmt: skip


def texts(messages: list[Message]) -> list[object]:
    return [message["content"] for message in messages]


def test_messages_are_grouped_by_their_question() -> None:
    first, second = rounds_of(TALK)
    assert first.question["content"] == "one"
    assert {slot: m["content"] for slot, m in first.answers.items()} == {"0": "uno", "1": "eins"}
    assert second.slots == ["0", "1", "2"]
    assert rounds_of([]) == []
    assert rounds_of([said("0", "nobody asked")]) == []


def test_a_separate_history_is_the_columns_own() -> None:
    rounds = rounds_of(TALK)
    assert texts(history(rounds, "1", shared=False)) == ["one", "eins", "two", "zwei"]
    assert texts(history(rounds, "2", shared=False)) == ["two", "deux"]
    assert history(rounds, "9", shared=False) == []


def test_a_shared_history_is_the_same_for_all() -> None:
    rounds = rounds_of(TALK)
    for slot in ("0", "2", "9"):
        assert texts(history(rounds, slot, shared=True)) == ["one", "uno", "two", "due"]
    rounds[0].question["chosen"] = "1"
    rounds[1].question["vote"] = "2"
    assert texts(history(rounds, "0", shared=True)) == ["one", "eins", "two", "deux"]


def test_a_shared_history_goes_on_with_an_answer_that_there_is() -> None:
    rounds = rounds_of(
        [asked("one", "0", "1", "2", chosen="0"), said("0", "", "failed"), said("1", " ", "done"),
         said("2", "zwo", "stopped")]
    )  # fmt: skip
    assert rounds[0].lead == "2"
    nobody = rounds_of([asked("one", "0"), said("0", "", "failed")])
    assert nobody[0].lead is None
    assert texts(history(nobody, "0", shared=True)) == ["one"]


@pytest.mark.parametrize(
    ("states", "vote", "hidden", "can_vote"),
    [
        (("running", "done"), None, True, False),
        (("done", "done"), None, True, True),
        (("done", "stopped"), None, True, True),
        (("done", "failed"), None, False, False),
        (("failed", "failed"), None, False, False),
        (("done", "done"), "0", False, False),
        (("done", "done"), TIE, False, False),
        (("done", "done"), NONE, False, False),
        (("done", "done"), SKIPPED, False, False),
    ],
)
def test_a_blind_round_hides_its_names_until_the_vote(
    states: tuple[str, str], vote: str | None, hidden: bool, can_vote: bool
) -> None:
    """Where at most one has answered there is nothing to vote on, and nothing to hide."""
    answers = {str(at): said(str(at), "words", state) for at, state in enumerate(states)}
    put = {**question("q", ["0", "1"], blind=True), "vote": vote}
    assert (Round(put, answers).hidden, Round(put, answers).can_vote) == (hidden, can_vote)
    seen = {**put, "blind": False}
    assert (Round(seen, answers).hidden, Round(seen, answers).can_vote) == (False, False)


def test_an_answer_takes_the_place_of_its_columns_former_one() -> None:
    new = said("1", "eins, again")
    after = rounds_of(with_answer(TALK, TALK[0]["id"], new))
    assert after[0].answers["1"] is new
    assert after[0].answers["0"] is TALK[1]
    assert after[1].answers == rounds_of(TALK)[1].answers
    late = rounds_of(with_answer(TALK, TALK[3]["id"], said("7", "late")))
    assert list(late[1].answers) == ["0", "1", "2", "7"]
    assert with_answer(TALK, "gone", new) == TALK
