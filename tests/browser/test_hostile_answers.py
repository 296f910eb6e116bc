"""A model's answer is untrusted: nothing in it runs, loads, covers the page or leads astray."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from .hostile import END
from .screens import Chat
from .town import Town
from .visitor import Visitor

pytestmark = [
    pytest.mark.e2e, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="session"),
]  # fmt: skip
ELSEWHERE = "https://evil.example"
FORBIDDEN = "script, iframe, object, embed, link, meta, base, style:not(svg style)"
ASKING = "form, input, textarea, select, button:not(.copy_code_button)"
"""What could pass for the page's own; a picture of it would be as good, but sends nothing."""
FOUND = """(thread, [forbidden, asking]) => {
    const said = [...thread.querySelectorAll(".prose *")];
    const those = (test) => said.filter(test).map((one) => one.outerHTML.slice(0, 200));
    return {
        forbidden: those((one) => one.matches(forbidden)),
        asking: those((one) => one.matches(asking) && one.checkVisibility()),
        handled: those((one) => one.getAttributeNames().some((name) => name.startsWith("on"))),
        custom: those((one) => one.localName.includes("-")),
        unsafe: those((one) => one.localName === "a" && one.href &&
            (one.target !== "_blank" || !one.relList.contains("noopener"))),
        links: said.filter((one) => one.localName === "a" && one.href).map((one) => one.href),
    };
}"""


@pytest.mark.parametrize("home", ["another site", "another port"])
async def test_nothing_of_it_happens(visitor: Visitor, town: Town, home: str) -> None:
    url = ELSEWHERE if home == "another site" else town.spy.upstream.url
    before = town.spy.upstream.accepted
    chat = await Chat(await visitor.page(town.chat)).ready()
    await chat.choose("villain")
    await chat.asked(url, END)
    for again in (False, True):
        if again:
            await chat.page.reload(wait_until="domcontentloaded")
            await expect(chat.thread).to_contain_text(END)
        await press_everything(chat)
        assert await chat.page.evaluate("() => window.stolen") is None
        found = await chat.thread.evaluate(FOUND, [FORBIDDEN, ASKING])
        links = found.pop("links")
        assert not any(found.values()), found
        assert f"{url}/good" in links
        assert not [link for link in links if not link.startswith("http")]
        await chat.box.click()
    assert visitor.dialogs == []
    assert visitor.left == []
    assert town.spy.upstream.accepted == before
    assert f"{url}/markdown.png?q=secret" in visitor.refused
    visitor.refused.clear()


async def press_everything(chat: Chat) -> None:
    """What somebody may do who is led to it; links that go elsewhere are left alone."""
    for words in ("a link", "an anchor", "a data link", "a custom tag", "more", "a cover"):
        for place in await chat.thread.get_by_text(words, exact=True).all():
            await place.click(force=True)
    await chat.page.wait_for_timeout(300)
    assert len(chat.page.context.pages) == 1
