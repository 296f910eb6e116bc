"""docs/routing.md says what the code does."""

import re
from pathlib import Path

from h2o_relay import errors
from h2o_relay.breaker import Breaker
from h2o_relay.errors import error_tree
from h2o_relay.pools import STRATEGIES, PoolSpec
from h2o_relay.retrying import (
    FIRST_DELAY,
    LONGEST_DELAY,
    PATIENCE,
    STATUSES,
    Budget,
    again,
    elsewhere,
)
from h2o_relay.routing import REASONS
from h2o_relay.routing.sticky import BOUND

PAGE = (Path(__file__).parents[3] / "docs" / "routing.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())
KERNEL_S = {"only-server", "fallback"}
"""Reasons that no strategy gives."""


def rows(heading: str) -> dict[str, list[str]]:
    """The table under this heading: the names in its first column, and the other columns."""
    table = PAGE.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    found = re.findall(r"^\| `([^`]+)` \| (.*) \|$", table, re.MULTILINE)
    return {name: rest.split(" | ") for name, rest in found}


def test_every_strategy_is_there_and_no_other() -> None:
    assert tuple(rows("strategy")) == STRATEGIES


def test_every_reason_is_there_with_its_meaning() -> None:
    found = {name: meaning for name, [meaning] in rows("reason").items()}
    assert {name: said for name, said in found.items() if name not in KERNEL_S} == REASONS
    assert all(name.isascii() and " " not in name for name in found)


def test_what_is_tried_again() -> None:
    special = (errors.UpstreamRejected, errors.MethodNotAllowed)  # made in another way; neither is
    expected = {}
    for cls in error_tree():
        if cls.__module__ == errors.__name__ and cls not in special and elsewhere(cls("")):
            expected[cls.__name__] = ["yes" if again(cls("")) else "no", "yes"]
    assert rows("error") == expected
    *most, last = sorted(STATUSES)
    assert f"the statuses {', '.join(map(str, most))} and {last}" in TEXT


def test_the_figures() -> None:
    breaker, budget = Breaker(), Budget()
    assert (breaker.failures, breaker.open_for, breaker.longest) == (5, 3, 60)
    assert "Five failures in a row" in TEXT
    assert "for three seconds" in TEXT
    assert (budget.share, budget.floor, budget.window) == (0.2, 3, 10)
    assert "a fifth of the active requests, or three;" in TEXT
    assert f"up to {FIRST_DELAY:g} s" in TEXT
    assert f"up to {LONGEST_DELAY:g} s" in TEXT
    assert PATIENCE == 1
    assert "up to one second the relay waits" in TEXT
    assert f"more than {BOUND:g} times the average" in TEXT


def test_its_examples_are_read() -> None:
    for text in re.findall(r'--pool "([^"]+)"', PAGE):
        assert PoolSpec.parse(text).name == "big"
