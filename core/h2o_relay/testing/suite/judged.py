"""A suite that sees whether its tests were changed."""

from __future__ import annotations

from typing import Any

from .base import SuiteBase
from .deviations import unexplained

JUDGE = "test_deviations_have_reasons"


class Judged(SuiteBase):
    """A class that derives from it directly is a suite; those below are plugins' tests of it."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if JUDGE in vars(cls):
            raise TypeError(f"{cls.__name__} must not replace {JUDGE}")

    def test_deviations_have_reasons(self) -> None:
        suite = next(cls for cls in type(self).__mro__ if Judged in cls.__bases__)
        changed = unexplained(type(self), suite)
        assert not changed, f"changed without @deviates or does_not_apply: {', '.join(changed)}"
