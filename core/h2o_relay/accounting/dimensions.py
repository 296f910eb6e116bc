"""By what usage is told apart and narrowed down: names that `h2o --help` needs as well."""

from __future__ import annotations

from typing import Final

DIMENSIONS: Final = ("key", "model", "deployment", "server", "route", "code", "day")
"""By what usage can be told apart. `day` is a date in UTC, `deployment` who answered, `code` the
error's ("" without one)."""
FILTERS: Final = ("key", "model", "deployment", "server", "route", "code")
"""By what it can be narrowed down: one of the values that are given."""
PARAMETERS: Final = ("by", "since", "until", *FILTERS)
SINCE: Final = "30d"
