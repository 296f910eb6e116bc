"""Every test here must leave things as it found them."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from h2o_relay.testing.scripts import sse

from .kit import KEY, Relay, relay, said

PAUSE = 3.0
"""Seconds that a client may take for each part of its request: more than a busy machine stalls."""
DESCRIPTORS = next((p for p in (Path("/proc/self/fd"), Path("/dev/fd")) if p.is_dir()), None)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Relay]:
    """One relay for a whole module."""
    async with relay() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def running(shared: Relay, nothing_left: None) -> AsyncIterator[Relay]:
    """A relay for tests that need no settings of their own; its upstream says three tokens."""
    shared.plays(sse(said(3)))
    yield shared
    await shared.hang_up()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded() -> AsyncIterator[Relay]:
    """One relay with a key for a whole module, for requests that must not reach its upstream."""
    async with relay(api_key=KEY, read_timeout=PAUSE) as running:
        yield running


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def nothing_left() -> AsyncIterator[None]:
    """No task and no file descriptor outlives a test."""
    tasks, files = asyncio.all_tasks(), descriptors()
    yield
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 10
    while (left := asyncio.all_tasks() - tasks - {asyncio.current_task()}) or descriptors() > files:
        if loop.time() > deadline:
            extra = descriptors() - files
            pytest.fail(f"left {extra} descriptors open, and these tasks: {left}", pytrace=False)
        await asyncio.sleep(0.01)


def descriptors() -> int:
    return len(os.listdir(DESCRIPTORS)) if DESCRIPTORS else 0
