"""Fixtures of the tests of what a relay endures."""

from __future__ import annotations

from collections.abc import Iterator

import postgres
import pytest


@pytest.fixture
def own_postgres() -> Iterator[postgres.Server]:
    """One that a test may stop."""
    postgres.needed()
    server = postgres.Server()
    yield server
    server.close()
