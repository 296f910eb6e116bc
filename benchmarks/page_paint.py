"""How soon a real browser shows what a server has begun to say.

Both ends are read by the monotonic clock: the first token says when the server wrote it, and the
browser's own clock is compared with it right before each question.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from playwright.async_api import Error as BrowserError
from playwright.async_api import Page, expect
from tests.browser import chromium
from tests.browser.screens import Chat, answered
from tests.browser.visitor import WAIT, visiting

from .gateways import BenchmarkError
from .page_upstream import Wish, written_at

TOKENS, PACE = 20, 0.05
LOOKS = 20  # at the browser's clock before each question
LARGEST_ERROR = 0.005  # seconds that the two clocks may be misread by
WATCH = """() => {
    const thread = document.querySelector("#chat-thread");
    const seen = (window.benchmark = {});
    const painted = new MessageChannel();
    painted.port1.onmessage = () => { seen.paint = performance.now(); };
    const observer = new MutationObserver(() => {
        const found = /\\b0@\\d+/.exec(thread.textContent);
        if (!found) return;
        observer.disconnect();
        seen.dom = performance.now();
        seen.text = found[0];
        requestAnimationFrame(() => {
            seen.frame = performance.now();
            painted.port2.postMessage(null);
        });
    });
    observer.observe(thread, { childList: true, characterData: true, subtree: true });
}"""
"""Notes when the first token is in the document, when the next frame is begun, and, by a message
that is handled after the frame, when it has been drawn. Times are the browser's, in ms.
"""


@dataclass(frozen=True, slots=True)
class Paint:
    """One answer; seconds from the server's writing of its first token."""

    dom: float
    """Until its text is in the document."""
    frame: float
    """Until the callback of the next frame, which shows it."""
    paint: float
    """Until that frame is drawn."""


def absent() -> str:
    """Why there is no browser; "" if there is one."""
    return "" if chromium.find() is not None else chromium.ABSENT


async def paints(url: str, thinks: list[float], count: int) -> tuple[str, dict[float, list[Paint]]]:
    """Chromium's version, and so many answers for each time that the server thinks before its
    first token, in turn.

    Raises BenchmarkError where the page does not show them whole.
    """
    found: dict[float, list[Paint]] = {think: [] for think in thinks}
    try:
        async with chromium.launched() as browser, visiting(browser) as visitor:
            version = browser.version
            chat = await Chat(await visitor.page(url)).ready()
            await _ask(chat, Wish(TOKENS, PACE))  # the first one warms everything up
            for _ in range(count):
                for think in thinks:
                    found[think].append(await _ask(chat, Wish(TOKENS, PACE, think)))
    except (BrowserError, AssertionError) as error:
        raise BenchmarkError(f"the page in a browser: {error}") from error
    return version, found


async def _ask(chat: Chat, wish: Wish) -> Paint:
    """Ask in a new chat, and wait for the answer's end."""
    page = chat.page
    async with answered(page):  # a new chat that is drawn late would take the question with it
        await chat.fresh()
    offset = await _offset(page)
    await page.evaluate(WATCH)
    await chat.ask(wish.text())
    await page.wait_for_function("() => window.benchmark.paint", timeout=WAIT)
    seen = await page.evaluate("() => window.benchmark")
    await expect(chat.thread).to_contain_text(" ".join(map(str, range(1, wish.tokens))))
    await chat.ended()
    written = written_at(seen["text"])
    if written is None:
        raise BenchmarkError("the first token does not say when it was written")
    dom, frame, paint = (seen[name] / 1000 + offset - written for name in ("dom", "frame", "paint"))
    return Paint(dom, frame, paint)


async def _offset(page: Page) -> float:
    """What is to be added to the browser's seconds for those of the monotonic clock, from the
    look that took the shortest.
    """
    looks = []
    for _ in range(LOOKS):
        before = time.monotonic()
        there = float(await page.evaluate("() => performance.now()")) / 1000
        after = time.monotonic()
        looks.append((after - before, (before + after) / 2 - there))
    took, offset = min(looks)
    if took / 2 > LARGEST_ERROR:
        raise BenchmarkError("the browser's clock cannot be read well enough: the machine is busy")
    return offset
