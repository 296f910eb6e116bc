"""The Chromium that is installed here, driven by Playwright. Nothing is downloaded."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from playwright.async_api import Browser, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
ABSENT = "no Chromium is installed: put one on the PATH, or name it in CHROMIUM"
NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
"""Whatever a page asks for, this machine's loopback address is all it reaches."""


def find() -> str | None:
    """Chromium's path: the environment's CHROMIUM, else the first that is on the PATH."""
    named = os.environ.get("CHROMIUM")
    if named:
        return shutil.which(named)
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return found or (str(MAC) if MAC.exists() else None)


@contextlib.asynccontextmanager
async def launched() -> AsyncIterator[Browser]:
    """A running Chromium without a window. Raises FileNotFoundError where there is none."""
    path = find()
    if path is None:
        raise FileNotFoundError(ABSENT)
    # Chromium's sandbox does not start for root; --disable-dev-shm-usage is for containers, whose
    # shared memory is small.
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    arguments = [NOWHERE, "--disable-dev-shm-usage", *root]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            await browser.close()
