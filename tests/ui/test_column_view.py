"""What one column shows."""

from __future__ import annotations

import re
from typing import Any

import pytest

from h2o_relay_ui.column_view import ASK, ASK_TWO, STOPPED, TOLD, face, faces, notice, said
from h2o_relay_ui.comparison import Comparison, Setup
from h2o_relay_ui.rounds import Round, answer, question
from h2o_relay_ui.thread import Message, figures

from .compare_kit import words

SETUP = Setup().added("org/alpha", "org/beta")
SERVER = "vllm_chat:gpu1:8000"
FAILED = {"state": "failed", "error": {"message": "gpu1 is down", "code": "x", "status": 502}}


def done(slot: str, text: str, **more: Any) -> Message:
    model = SETUP.columns[int(slot)].model
    told = {"content": text, "state": "done", "figures": figures(0.25, 2.25, 101)}
    return {**answer(model, SERVER, slot), **told, **more}


def comparison(*rounds: Round, **changes: Any) -> Comparison:
    setup = Setup(SETUP.columns, made=2, **changes)
    return Comparison(setup, "id", "title", list(rounds))


def asked(text: str, *answers: Message, **more: Any) -> Round:
    put = {**question(text, ["0", "1"], blind=bool(more.pop("blind", False))), **more}
    return Round(put, {each["slot"]: each for each in answers})


def marks(found: Comparison, at: int) -> set[str]:
    [classes] = re.findall(r'class="([^"]*)"', faces(found)[at].marks)
    return set(classes.split())


def test_a_new_comparison_is_empty() -> None:
    first, second = faces(comparison())
    assert (first.thread, first.foot) == ([], "")
    assert marks(comparison(), 0) == {"at-many"}
    assert first == second


def test_an_answer_has_its_figures_in_the_foot() -> None:
    found = comparison(asked("why?", done("0", "because", notes=["a thing was done"])))
    first, second = faces(found)
    assert words(first) == "why?\nbecause"
    assert "org/alpha · vllm_chat:gpu1:8000 · 0.2 s to first token · 50 tokens/s" in first.foot
    assert "A thing was done." in first.foot
    assert (second.thread, second.foot) == ([], "")
    assert marks(found, 0) == {"at-begun", "at-retry", "at-many"}


def test_a_column_that_answers_can_be_stopped() -> None:
    found = comparison(asked("why?", done("0", "", state="running"), done("1", "because")))
    assert "Waiting for org/alpha" in words(faces(found)[0])
    assert marks(found, 0) == {"at-begun", "at-running", "at-many"}
    assert marks(found, 1) == {"at-begun", "at-retry", "at-many"}


def test_an_error_is_in_its_column_with_a_retry() -> None:
    found = comparison(asked("why?", done("0", "", **FAILED), done("1", "because")))
    first = faces(found)[0]
    assert "gpu1 is down" in words(first)
    assert first.thread[-1]["options"] == [{"label": "Retry", "value": "Retry"}]
    assert "at-retry" in marks(found, 0)
    assert words(faces(found)[1]) == "why?\nbecause"


def test_what_was_stopped_before_the_first_word_says_so() -> None:
    found = comparison(asked("why?", done("0", "", state="stopped")))
    assert STOPPED in words(faces(found)[0])
    assert "stopped · org/alpha" in faces(found)[0].foot


def test_earlier_answers_keep_their_figures_in_the_thread() -> None:
    found = comparison(
        asked("one", done("0", "uno", model="was/another"), done("1", "eins")),
        asked("two", done("0", "due"), done("1", "zwei")),
    )
    assert "was/another" in words(faces(found)[0])
    assert "org/alpha" in faces(found)[0].foot
    assert "another answer" not in words(faces(found)[0])


def test_what_came_before_a_column_is_only_there_if_the_history_is_shared() -> None:
    rounds = asked("one", done("0", "uno")), asked("two", done("0", "due"), done("1", "zwei"))
    assert words(faces(comparison(*rounds))[1]) == "two\nzwei"
    shared = words(faces(comparison(*rounds, shared=True))[1])
    assert shared.startswith("one\nuno\n")
    assert "org/alpha" in shared


def test_a_shared_history_says_whose_answer_it_went_on_with() -> None:
    rounds = [asked(text, done("0", "a"), done("1", "b")) for text in ("one", "two")]
    rounds[0].question["chosen"] = "1"
    found = comparison(*rounds, shared=True)
    assert "went on with another answer, by org/beta" in words(faces(found)[0])
    assert "another answer" not in words(faces(found)[1])
    assert "goes on with this answer" in faces(found)[0].foot
    assert "at-choose" not in marks(found, 0)
    assert "at-choose" in marks(found, 1)


def test_a_blind_round_tells_nothing_that_names_a_model() -> None:
    answers = (
        done("0", "because", reasoning="hm", notes=["org/alpha did a thing"]),
        done("1", "", **FAILED),
        {**done("0", "so", model="org/gamma"), "slot": "2"},
    )
    setup = Setup().added("org/alpha", "org/beta", "org/gamma")
    earlier = asked("one", done("0", "uno"), done("1", "eins"))
    put = {**question("two", ["2", "1", "0"], blind=True)}
    found = Comparison(setup, "id", "", [earlier, Round(put, {a["slot"]: a for a in answers})])
    for state in ("running", "done"):
        answers[0]["state"] = state
        told = str(faces(found)).replace("\\", "")
        for secret in ("org/", "vllm", "gpu1", "tokens", "did a thing", "uno", "eins"):
            assert secret not in told, (state, secret)
        assert "at-hidden" in marks(found, 0)
        assert "at-many" not in marks(found, 0)
        assert "at-retry" in marks(found, 1)
    assert [words(each).split("\n")[-1] for each in faces(found)][::2] == ["so", "because"]
    assert ["at-vote" in marks(found, at) for at in range(3)] == [True, False, True]
    assert notice(found) == ASK_TWO


def test_a_model_that_is_waited_for_is_called_by_its_letter() -> None:
    found = comparison(asked("q", done("0", "", state="running"), done("1", "b"), blind=True))
    assert "Waiting for Model A" in words(faces(found)[0])
    assert notice(found) == ""


@pytest.mark.parametrize("outcome", ["1", "tie", "skipped"])
def test_after_the_vote_everything_is_told(outcome: str) -> None:
    found = comparison(
        asked("one", done("0", "uno"), done("1", "eins")),
        asked("two", done("0", "due"), done("1", "zwei"), blind=True, vote=outcome),
    )
    first, second = faces(found)
    assert words(first).startswith("one\nuno")
    assert "org/alpha" in first.foot
    assert ("Your vote" in second.foot) == (outcome == "1")
    assert ("at-won" in marks(found, 1)) == (outcome == "1")
    assert marks(found, 0) & {"at-hidden", "at-vote", "at-retry"} == set()
    assert notice(found) == TOLD


def test_three_answers_have_a_best_one() -> None:
    third = {**done("0", "c"), "slot": "2"}
    found = comparison(asked("q", done("0", "a"), done("1", "b"), third, blind=True))
    found.rounds[0].question["slots"] = ["0", "1", "2"]
    assert notice(found) == ASK


def test_names_servers_and_notes_are_harmless() -> None:
    evil = '<img src=x onerror=alert(1)>"'
    found = comparison(
        asked("q", done("0", "a", model=evil, server=evil, notes=[evil]), done("1", "b")),
        asked("r", done("0", "", model=evil, server=evil, **FAILED), done("1", "b")),
        shared=True,
    )
    for each in (*faces(found), *faces(comparison(*found.rounds[:1]))):
        assert "<img" not in each.foot
        assert "<img" not in each.marks
        texts = [part["text"] for row in each.thread for part in row["content"]]
        assert not any(re.search(r"(?<!\\)<img", text) for text in texts)
    assert "<img" not in said(evil)
    assert said("") == ""


def test_the_place_gives_the_letter() -> None:
    found = comparison(asked("q", done("0", "", state="running"), blind=True))
    assert "Waiting for Model C" in words(face(found, SETUP.columns[0], 2))
