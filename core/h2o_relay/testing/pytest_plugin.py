"""Fixtures for everyone who tests a plugin or a frontend.

Pytest loads this module wherever h2o relay is installed, so it imports nothing of it until a
fixture is asked for.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..settings import Settings

ENVIRONMENT = pytest.StashKey[dict[str, str]]()
WATCH = "leaves_nothing"
PYTESTS_OWN = "PYTEST_CURRENT_TEST"

pytest.register_assert_rewrite("h2o_relay.testing.suite")


def pytest_configure(config: pytest.Config) -> None:
    """Async fixtures exist where pytest-asyncio does, in its strict mode too."""
    if config.pluginmanager.hasplugin("asyncio"):
        from . import async_fixtures

        config.pluginmanager.register(async_fixtures, "h2o_relay_async")


@pytest.fixture
def relay_settings() -> Settings:
    """Settings with timeouts that a test can wait for (seconds)."""
    from .settings import quick

    return quick()


@pytest.fixture
def no_sockets() -> Iterator[None]:
    """Fails the test if it opens an internet socket or looks a host up."""
    from .sockets import no_sockets

    with no_sockets():
        yield


@pytest.fixture
def leaves_nothing(request: pytest.FixtureRequest) -> None:
    """Fails a test that leaves asyncio tasks running or environment variables changed.

    For a whole test suite, ask for it in an autouse fixture.
    """
    from inspect import iscoroutinefunction

    if iscoroutinefunction(getattr(request.function, "__wrapped__", request.function)):
        request.getfixturevalue("no_stray_tasks")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    if WATCH in getattr(item, "fixturenames", ()):
        item.stash[ENVIRONMENT] = _environment()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Compares after every other fixture, monkeypatch included, has put its things back."""
    result = yield
    before = item.stash.get(ENVIRONMENT, None)
    if before is not None:
        changed = {name for name, _ in before.items() ^ _environment().items()}
        if changed:
            names = ", ".join(sorted(changed))
            pytest.fail(f"left environment variables changed: {names}", pytrace=False)
    return result


def _environment() -> dict[str, str]:
    from ..settings import environment

    return {name: value for name, value in environment().items() if name != PYTESTS_OWN}
