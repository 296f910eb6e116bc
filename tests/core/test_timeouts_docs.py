"""docs/timeouts.md has every setting that is a time, as it is."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from h2o_relay.errors import error_tree
from h2o_relay.settings import Settings, env_names

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "timeouts.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `--([a-z-]+)` \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", re.MULTILINE)
ROWS = {name.replace("-", "_"): rest for name, *rest in ROW.findall(PAGE)}
TIMES = {item.name: item for item in fields(Settings) if item.metadata["unit"] == "seconds"}
CODES = {error.code for error in error_tree()} | {"gateway_shutdown"}


def test_every_time_has_a_row_and_nothing_else_has() -> None:
    assert sorted(ROWS) == sorted(TIMES)


def test_variables_and_defaults_are_those_of_the_table_of_settings() -> None:
    for name, (variables, value, _, _) in ROWS.items():
        default = TIMES[name].default
        assert variables == ", ".join(f"`{variable}`" for variable in env_names(name)), name
        assert value == ("none" if default is None else f"{default:g}"), name


def test_what_callers_see_is_an_error_that_there_is() -> None:
    named = {code for *_, seen in ROWS.values() for code in re.findall(r"`(\w+_\w+)`", seen)}
    assert len(named) > 5
    assert named <= CODES
