"""Saying why a plugin's tests differ from the suite's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

MARK = "__deviates__"
Test = TypeVar("Test", bound=Callable[..., Any])


def deviates(reason: str) -> Callable[[Test], Test]:
    """Marks a test that replaces one of the suite's; `reason` says what is different and why."""

    def mark(test: Test) -> Test:
        setattr(test, MARK, _stated(reason))
        return test

    return mark


def does_not_apply(reason: str) -> Any:
    """Stands in for one of the suite's tests that makes no sense for a plugin; it is skipped.

    test_leaving_closes_the_upstream = does_not_apply("the vendor's SDK offers no way to stop")
    """

    @deviates(reason)
    def test(self: Any) -> None:
        pytest.skip(reason)

    return test


def unexplained(cls: type, suite: type) -> list[str]:
    """The names of the suite's tests that `cls` has changed or taken away without a reason."""
    names = [name for name in dir(suite) if name.startswith("test")]
    return [name for name in names if not _is_explained(cls, suite, name)]


def _is_explained(cls: type, suite: type, name: str) -> bool:
    test = getattr(cls, name, None)
    return test is getattr(suite, name) or bool(getattr(test, MARK, ""))


def _stated(reason: str) -> str:
    if not isinstance(reason, str) or not reason.strip():
        raise ValueError("a deviation from the conformance suite needs a reason")
    return reason
