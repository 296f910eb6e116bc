"""Nothing on any tab is wider than a phone, in light and in dark."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from .screens import Chat, open_tab, sideways
from .town import Town
from .visitor import PHONE, visiting

pytestmark = [
    pytest.mark.e2e, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="session"),
]  # fmt: skip
TABS = ("Chat", "Compare", "Models", "System")
WIDE_ANSWER = "x" * 300


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_shows_every_tab_without_scrolling_sideways(
    browser: Browser, town: Town, scheme: str
) -> None:
    options = {"viewport": PHONE, "color_scheme": scheme, "has_touch": True, "is_mobile": True}
    async with visiting(browser, **options) as visitor:
        page = await visitor.page(town.chat)
        chat = await Chat(page).ready()
        await chat.choose("parrot")
        await chat.asked(WIDE_ANSWER, f"to: {WIDE_ANSWER}")
        wide = {}
        for name in TABS:
            await open_tab(page, name)
            await expect(page.get_by_role("tabpanel").filter(visible=True)).to_be_visible()
            wide[name] = await sideways(page)
        assert wide == dict.fromkeys(TABS, 0)
        dark = await page.evaluate("() => document.body.classList.contains('dark')")
        assert dark == (scheme == "dark")
        assert visitor.faults == []
