"""Running a whole conformance suite within one test.

Tests that measure the event loop run alone, the others a few at a time, since most of their time is
spent waiting.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
from typing import Any

import pytest

from h2o_relay.testing.suite import SuiteBase
from h2o_relay.testing.suite.checks import check_of

AT_A_TIME = 4
ALONE = "event loop"


def every_test_of(suite: type[SuiteBase]) -> list[tuple[str, dict[str, Any]]]:
    """Every test with every set of its parameters."""
    found = []
    for name in dir(suite):
        if not name.startswith("test"):
            continue
        marks = getattr(getattr(suite, name), "pytestmark", [])
        choices = []
        for mark in marks:
            if mark.name == "parametrize":
                names, values = mark.args
                assert isinstance(names, str)
                choices.append([(names, value) for value in values])
        found += [(name, dict(pairs)) for pairs in itertools.product(*choices)]
    return found


async def outcome(suite: type[SuiteBase], name: str, arguments: dict[str, Any]) -> str | None:
    """How a test fails; None if it does not."""
    try:
        result = getattr(suite(), name)(**arguments)
        if inspect.isawaitable(result):
            await result
    except pytest.skip.Exception:
        return None
    except (Exception, pytest.fail.Exception) as error:
        return f"{name}{arguments or ''}: {type(error).__name__}: {error}"
    return None


async def failures(suite: type[SuiteBase]) -> dict[str, list[str]]:
    """What fails, by check. A test that fails among others has a second try of its own: a mistake
    fails every time."""
    turn = asyncio.Semaphore(AT_A_TIME)

    async def one(test: tuple[str, dict[str, Any]]) -> bool:
        async with turn:
            return await outcome(suite, *test) is not None

    every = every_test_of(suite)
    assert len(every) > 20
    alone = [test for test in every if check_of(test[0]) == ALONE]
    together = [test for test in every if test not in alone]
    failed = await asyncio.gather(*map(one, together))
    again = [test for test, fails in zip(together, failed, strict=True) if fails]
    found: dict[str, list[str]] = {}
    for test in (*again, *alone):
        said = await outcome(suite, *test)
        if said is not None:
            found.setdefault(check_of(test[0]), []).append(said)
    return found
