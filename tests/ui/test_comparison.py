"""A comparison's columns."""

from __future__ import annotations

from typing import Any

import pytest

from h2o_relay_ui.comparison import MOST, Column, Comparison, Setup
from h2o_relay_ui.rounds import Round, question

PAIR = Setup().added("a", "b")


def slots(setup: Setup) -> list[tuple[str, str]]:
    return [(column.slot, column.model) for column in setup.columns]


def test_columns_come_and_go_and_no_slot_comes_again() -> None:
    assert slots(PAIR) == [("0", "a"), ("1", "b")]
    after = PAIR.without("1").added("c")
    assert slots(after) == [("0", "a"), ("2", "c")]
    assert slots(after.swapped("0", "d")) == [("0", "d"), ("2", "c")]
    assert slots(after.swapped("9", "d")) == slots(after)


def test_there_are_sixteen_columns_at_most() -> None:
    full = Setup().added(*map(str, range(20)))
    assert len(full.columns) == MOST
    assert full.added("more").columns == full.columns
    assert full.added("more").made == MOST


def test_one_more_column_has_the_model_that_has_fewest() -> None:
    assert PAIR.next_model(["a", "b", "c"]) == "c"
    assert PAIR.next_model(["a", "b"]) == "a"
    assert PAIR.next_model([]) == ""


def test_a_setup_is_kept_as_json() -> None:
    setup = Setup(PAIR.columns, True, True, {"temperature": "0.5", "stop": "a\nb"}, 7)
    assert Setup.of(setup.as_json()) == setup
    assert Setup.of(setup.as_json()).added("c").columns[-1].slot == "7"


@pytest.mark.parametrize(
    "given",
    [
        None, [], "x", {"columns": 3}, {"columns": [None, "x", {"slot": 1, "model": "a"}]},
        {"columns": [{"slot": "x", "model": "a"}, {"slot": "1", "model": None}, {"slot": "٣"}]},
        {"columns": [{"slot": "9" * 5000, "model": "a"}]},
        {"texts": "hot", "made": "many", "shared": 1, "blind": "yes"},
        {"texts": {"nonsense": "x", "temperature": ""}},
    ],
)  # fmt: skip
def test_what_makes_no_sense_in_a_browser_is_left_out(given: Any) -> None:
    setup = Setup.of(given)
    assert (setup.shared, setup.blind, dict(setup.texts)) == (False, False, {})
    assert [column.model for column in setup.columns] in ([], ["a"])
    assert all(column.slot.isascii() for column in setup.columns)


def test_two_columns_of_one_slot_are_one() -> None:
    twice = [{"slot": "0", "model": "a"}, {"slot": "0", "model": "b"}]
    assert slots(Setup.of({"columns": twice})) == [("0", "b")]


def test_columns_stand_as_in_the_last_blind_round() -> None:
    setup = Setup().added("a", "b", "c")
    blind = Comparison(setup, rounds=[Round(question("q", ["2", "0", "1"], blind=True))])
    assert [column.slot for column in blind.arranged] == ["2", "0", "1"]
    less = Comparison(setup.without("0").added("d"), rounds=blind.rounds)
    assert [column.slot for column in less.arranged] == ["2", "1", "3"]
    seen = Comparison(setup, rounds=[Round(question("q", ["2", "0", "1"], blind=False))])
    assert seen.arranged == list(setup.columns)
    assert Comparison(setup).arranged == [Column(str(at), m) for at, m in enumerate("abc")]
