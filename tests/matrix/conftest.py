"""One relay for each backend and module."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from .backends import BACKENDS, IDS
from .kit import bench
from .measuring import Measured


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=BACKENDS, ids=IDS)
async def measured(request: pytest.FixtureRequest) -> AsyncIterator[Measured]:
    """A backend behind a relay, and what is known of it so far."""
    async with bench(request.param) as running:
        yield Measured(running)
