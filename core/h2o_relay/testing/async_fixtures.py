"""The fixtures that run in the test's event loop; registered where pytest-asyncio is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from .upstream import ScriptedUpstream

GRACE = 5.0  # seconds for callbacks of what was closed just now, on a busy machine


@pytest_asyncio.fixture
async def scripted_upstream() -> AsyncIterator[ScriptedUpstream]:
    """A running `ScriptedUpstream` that answers 404 until its `script` is set."""
    from .scripts import json
    from .upstream import ScriptedUpstream

    async with ScriptedUpstream(json({"error": {"message": "no script"}}, 404)) as upstream:
        yield upstream


@pytest_asyncio.fixture
async def no_stray_tasks() -> AsyncIterator[None]:
    """Fails the test if asyncio tasks that it started outlive it."""
    before = asyncio.all_tasks()
    yield
    loop = asyncio.get_running_loop()
    deadline = loop.time() + GRACE
    while left := _running(before):
        if loop.time() > deadline:
            names = ", ".join(
                sorted(getattr(task.get_coro(), "__qualname__", repr(task)) for task in left)
            )
            pytest.fail(f"left tasks running: {names}", pytrace=False)
        await asyncio.sleep(0.005)


def _running(before: set[asyncio.Task[object]]) -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - before - {asyncio.current_task()}
