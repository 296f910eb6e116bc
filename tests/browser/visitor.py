"""A person's browser: a page, and what went wrong or wanted to leave while it was open."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, Page, Request, expect

WAIT = 15_000  # milliseconds that a person is patient
WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
INLINE = ("data", "blob", "about")
POLICY = "violates the following Content Security Policy directive"
LEAVING = (
    "AbortError: signal is aborted",
    "Unexpected error Connection errored out.",
    "Unexpected client exception",
)
"""What Gradio's script says of its own requests when a page is left in the middle of them."""
KNOWN = (*LEAVING, POLICY)
"""Errors on the console that are none, and those that `refused` has."""


class Visitor:
    """One browser context: cookies of its own, one page to begin with."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.own: set[str] = set()
        """Origins of the pages that were opened here on purpose."""
        self.left: list[str] = []
        """Addresses of other origins that were asked for."""
        self.refused: list[str] = []
        """Those that the page's own policy held back."""
        self.dialogs: list[str] = []
        self.faults: list[str] = []
        """Exceptions in the page, and errors on its console but for what is refused."""
        context.on("request", self._request)
        context.on("requestfailed", self._failed)
        context.on("dialog", self._dialog)
        context.on("weberror", lambda error: self.faults.append(f"exception: {error.error}"))
        context.on("console", self._console)

    def _request(self, request: Request) -> None:
        scheme, host, *_ = urlsplit(request.url)
        if scheme not in INLINE and f"{scheme}://{host}" not in self.own:
            self.left.append(request.url)

    def _failed(self, request: Request) -> None:
        # Chromium tells of a request before it asks the policy, and then that nothing came of it.
        if request.failure == "csp":
            self.left.remove(request.url)
            self.refused.append(request.url)

    async def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(f"{dialog.type}: {dialog.message}")
        await dialog.dismiss()

    def _console(self, message: Any) -> None:
        if message.type == "error" and not any(known in message.text for known in KNOWN):
            where = message.location.get("url", "")
            self.faults.append(f"console: {message.text} ({where})")

    async def page(self, url: str = "") -> Page:
        page = await self.context.new_page()
        if url:
            scheme, host, *_ = urlsplit(url)
            self.own.add(f"{scheme}://{host}")
            await page.goto(url, wait_until="domcontentloaded")
        return page


@contextlib.asynccontextmanager
async def visiting(browser: Browser, **options: Any) -> AsyncIterator[Visitor]:
    """A browser of one's own; `options` are those of Playwright's `new_context`."""
    given = {"viewport": WIDE, "locale": "en-GB", "timezone_id": "UTC", **options}
    context = await browser.new_context(**given)
    context.set_default_timeout(WAIT)
    expect.set_options(timeout=WAIT)
    try:
        yield Visitor(context)
    finally:
        await context.close()
