"""One Chromium for all tests, and a fresh visitor for each."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from h2o_relay.errors import RelayError
from h2o_relay.plugins import Plugins

from . import chromium
from .relay import now_running
from .town import SMALL, Town, inhabited
from .visitor import Visitor, visiting

FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Iterator[None]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    if chromium.find() is None:
        leave_out(chromium.ABSENT)
    async with chromium.launched() as running:
        yield running


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def town(
    browser: Browser, no_embedded: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    """One relay for most of the tests. Without a browser it is not started."""
    folder = tmp_path_factory.mktemp("town")
    async with inhabited(folder, embedded=not no_embedded) as made:
        yield made


def leave_out(reason: str) -> NoReturn:
    """Skip a test, but never in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def no_embedded() -> str:
    """Why the default model is not here and cannot be fetched; "" if it is or can."""
    plugins = Plugins.discover("llama_cpp")
    fetch = plugins.get("llama_cpp").fetch
    try:
        asyncio.run(fetch(plugins.parse("llama_cpp"), lambda *_: None))
    except RelayError as error:
        return f"the default model cannot be fetched here: {error}"
    return ""


@pytest.fixture
def embedded(no_embedded: str) -> str:
    """The default model's name in the town."""
    if no_embedded:
        leave_out(no_embedded)
    return SMALL


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(
    browser: Browser, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Visitor]:
    """A browser whose page may neither fail, nor say anything, nor ask anybody else."""
    async with visiting(browser) as made:
        yield made
        if FAILED in request.node.stash:
            await shoot(made, tmp_path)
            print(*(f"its relay's console:\n{relay.output}" for relay in now_running))
        assert made.faults == []
        assert made.dialogs == []
        assert made.left == []
        assert made.refused == []


async def shoot(visitor: Visitor, folder: Path) -> None:
    """Keep what the pages of a failed test look like, and say where."""
    for number, page in enumerate(visitor.context.pages):
        file = folder / f"page-{number}.png"
        await page.screenshot(path=file)
        print(f"screenshot: {file} ({page.url})")
