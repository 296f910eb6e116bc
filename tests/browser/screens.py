"""The page as a person uses it: what there is to click, and what there is to read."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator

from playwright.async_api import Locator, Page, Request, expect

from h2o_relay.testing.upstream import until

from .servers import PATIENCE

QUESTIONS = ".user-row"
ANSWERS = ".bot-row"


async def choose(page: Page, dropdown: str, label: str) -> None:
    """Choose an option of one of Gradio's dropdowns."""
    await page.locator(f"{dropdown} input").click()
    await option(page, label).click()


def option(page: Page, label: str) -> Locator:
    """An option of the list that is open; what is wrong with it may stand behind its label. The
    list of a field before it may still be closing.
    """
    return page.get_by_role("option", name=re.compile(rf"^{re.escape(label)}( \(|$)")).last


@contextlib.asynccontextmanager
async def answered(page: Page) -> AsyncIterator[None]:
    """Around something that the page asks its server about: leaving waits for the answers, as a
    person does who looks before the next click.
    """
    made: list[Request] = []
    ended: list[Request] = []

    def ask(request: Request) -> None:
        if "/run/predict" in request.url:
            made.append(request)

    def end(request: Request) -> None:
        ended.append(request)

    page.on("request", ask)
    page.on("requestfinished", end)
    try:
        yield
        await until(lambda: made and all(each in ended for each in made), within=PATIENCE)
    finally:
        page.remove_listener("request", ask)
        page.remove_listener("requestfinished", end)


async def open_tab(page: Page, name: str) -> None:
    await page.get_by_role("tab", name=name, exact=True).click()


async def sideways(page: Page) -> int:
    """Pixels by which the page is wider than its window."""
    return int(
        await page.evaluate(
            "() => Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
            " - window.innerWidth"
        )
    )


class Chat:
    """The chat tab and the sidebar."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.thread = page.locator("#chat-thread")
        self.box = page.locator("#chat-box textarea")
        self.notice = page.locator("#chat-notice")
        self.questions = self.thread.locator(QUESTIONS)
        self.chats = page.locator(".conversations-day label")

    async def ready(self) -> Chat:
        await expect(self.box).to_be_editable()
        await expect(self.page.locator("#chat-model input")).not_to_have_value("")
        return self

    async def ask(self, text: str) -> None:
        await self.box.fill(text)
        await self.box.press("Enter")

    async def asked(self, text: str, answer: str) -> None:
        """Ask, and wait for words of the answer and for its end."""
        await self.ask(text)
        await expect(self.thread).to_contain_text(answer)
        await self.ended()

    async def ended(self) -> None:
        """Wait until an answer's figures are there and the box sends again."""
        await expect(self.page.locator("#chat-box .submit-button")).to_be_visible()

    async def said(self) -> list[str]:
        """Everything in the thread, figures included."""
        return [text.strip() for text in await self.thread.locator(".prose").all_inner_texts()]

    async def choose(self, model: str) -> None:
        await choose(self.page, "#chat-model", model)

    def option(self, name: str) -> Locator:
        return self.page.locator(f"#chat-option-{name}").locator("textarea, input")

    async def set(self, name: str, text: str) -> None:
        """Set one of the options in the side panel, which is opened for that."""
        if not await self.option(name).is_visible():
            await self.page.locator("#chat-options-toggle").click()
        await self.option(name).fill(text)

    async def stop(self) -> None:
        await self.page.locator("#chat-box .stop-button").click()

    def button(self, label: str) -> Locator:
        """The last button of that label at a message."""
        return self.thread.get_by_role("button", name=label).last

    async def fresh(self) -> None:
        await self.page.locator("#conversations-fresh").click()
        await expect(self.questions).to_have_count(0)

    async def id(self) -> str:
        """The conversation's id, as the address has it once there is one."""
        await self.page.wait_for_url("**c=*")
        return self.page.url.partition("c=")[2].partition("&")[0]


class Models:
    """The models tab."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.message = page.locator("#models-message")
        self.found = page.locator("#models-found")

    async def open(self) -> Models:
        await open_tab(self.page, "Models")
        await expect(self.row("parrot")).to_be_visible()
        return self

    def row(self, name: str) -> Locator:
        return self.page.locator(".models-card").filter(
            has=self.page.locator(".models-name", has_text=name)
        )

    async def press(self, part: str) -> None:
        await self.page.locator(f"#models-{part}").click()

    async def fill(self, part: str, text: str) -> None:
        await self.page.locator(f"#models-{part}").locator("input, textarea").fill(text)


class Compare:
    """The compare tab, or the grid."""

    def __init__(self, page: Page, prefix: str = "compare") -> None:
        self.page = page
        self.prefix = prefix
        self.box = self.part("box").locator("textarea")

    def part(self, name: str) -> Locator:
        return self.page.locator(f"#{self.prefix}-{name}")

    def thread(self, at: int) -> Locator:
        return self.part(f"thread-{at}")

    def foot(self, at: int) -> Locator:
        return self.part(f"foot-{at}")

    async def answering(self, at: int) -> None:
        """Wait until a column answers."""
        await expect(self.part(f"stop-{at}")).to_be_visible()

    async def ended(self, at: int) -> None:
        """Wait until a column's answer has ended."""
        await expect(self.part(f"retry-{at}")).to_be_visible()

    async def with_models(self, *models: str) -> Compare:
        """A new comparison of these models, in this order."""
        async with answered(self.page):
            await open_tab(self.page, "Compare")
        await expect(self.part("model-0").locator("input")).not_to_have_value("")
        async with answered(self.page):
            await self.part("fresh").click()
        for at, model in enumerate(models):
            if not await self.part(f"col-{at}").is_visible():
                async with answered(self.page):
                    await self.part("add").click()
            field = self.part(f"model-{at}").locator("input")
            if await field.input_value() == model:
                continue
            async with answered(self.page):
                await field.click()
            async with answered(self.page):
                await option(self.page, model).click()
        await expect(self.part(f"col-{len(models)}")).to_be_hidden()
        return self

    async def ask(self, text: str) -> None:
        await self.box.fill(text)
        await self.box.press("Enter")
