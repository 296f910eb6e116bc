"""Pictures of every tab, in light and dark, on a wide screen and on a phone.

    python -m docs.screenshots                 all of them, into docs/images; minutes
    python -m docs.screenshots chat compare    those of some tabs

A real relay serves the page; the models behind it are scripted (`said`).
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.async_api import Browser, Page, expect
from tests.browser import chromium
from tests.browser.relay import Relay, running
from tests.browser.screens import Chat, Compare, Models, open_tab
from tests.browser.servers import Server, opened, text_of
from tests.browser.town import unused_port
from tests.browser.visitor import PHONE, WIDE, Visitor, visiting

from . import said

FOLDER = Path(__file__).parents[1] / "images"
LARGEST = 250_000  # bytes of a picture
QUALITIES = (90, 80, 70, 60)  # of WebP; the first that is small enough is taken
TRAFFIC = 240.0  # seconds of it before the charts are drawn
NO_PATHS = {"SSL_CERT_FILE": "", "REQUESTS_CA_BUNDLE": ""}
"""The System tab would show those of the machine on which the pictures are made."""
TABS = ("chat", "compare", "grid", "models", "system")
SCREENS: dict[str, dict[str, Any]] = {
    "wide": {"viewport": WIDE, "device_scale_factor": 1.5},
    "phone": {"viewport": PHONE, "device_scale_factor": 2, "is_mobile": True, "has_touch": True},
}


async def speak(server: Server, messages: list[dict[str, Any]]) -> AsyncIterator[str]:
    """The answer at the model's own pace."""
    first, between = said.PACES[server.name]
    await asyncio.sleep(first * random.uniform(0.7, 1.3))
    for word in re.findall(r"\s*\S+\s*?", said.answer_of(server.name, text_of(messages[-1]))):
        yield word
        await asyncio.sleep(between * random.uniform(0.5, 1.5))


def lock(servers: list[Server]) -> list[dict[str, Any]]:
    away = f"openai_chat:None:http://127.0.0.1:{unused_port()}/v1"
    return [*(server.entry for server in servers),
            {"base_model": "kestrel-34b", "inference_server": away}]  # fmt: skip


class Studio:
    """The relay, the browser, and what a visitor's browser keeps."""

    def __init__(self, browser: Browser, relay: Relay, grid: Relay | None, keys: list[str]) -> None:
        """`grid` is a relay of its own, for the tab that is there only where it is asked for;
        `keys` are those of the relay's callers.
        """
        self.browser = browser
        self.keys = keys
        self.relay = relay
        self.grid = grid
        self.kept: Any = None
        self.chat = ""
        """The address of the conversation that is shown."""

    async def furnish(self, tabs: list[str]) -> None:
        """Say everything that the pictures show."""
        async with visiting(self.browser) as visitor:
            page = await visitor.page(self.relay.chat)
            chat = await Chat(page).ready()
            if "chat" in tabs:
                await self._converse(chat)
            if "compare" in tabs:
                compare = await Compare(page).with_models(*said.COMPARED_ANSWERS)
                await compare.ask(said.COMPARED)
                for at in range(len(said.COMPARED_ANSWERS)):
                    await compare.ended(at)
            if self.grid:
                page = await visitor.page(self.grid.chat)
                await Chat(page).ready()
                await open_tab(page, "Grid")
                grid = Compare(page, "grid")
                await grid.ask(said.COMPARED)
                for at in range(len(said.COMPARED_ANSWERS) + 1):
                    await grid.ended(at)
            self.kept = await visitor.context.storage_state()

    async def _converse(self, chat: Chat) -> None:
        await chat.choose("finch-8b")
        for question, answer in said.EARLIER:
            await chat.asked(question, answer)
            await chat.ended()
            await chat.fresh()
        await chat.choose("heron-70b")
        await chat.asked(said.BACKOFF, "the first one may have worked")
        await expect(chat.thread).to_contain_text("tokens/s")
        self.chat = chat.page.url

    async def shoot(self, tab: str, screen: str, scheme: str) -> Path:
        options = {**SCREENS[screen], "color_scheme": scheme, "storage_state": self.kept}
        async with visiting(self.browser, **options) as visitor:
            page = await self._at(visitor, tab)
            await page.wait_for_timeout(700)  # for what fades in
            picture = await page.screenshot(animations="disabled", caret="hide")
        return save(picture, f"{tab}-{screen}-{scheme}")

    async def _at(self, visitor: Visitor, tab: str) -> Page:
        relay = self.grid if tab == "grid" and self.grid else self.relay
        page = await visitor.page(self.chat if tab == "chat" else relay.chat)
        await open_tab(page, tab.capitalize())
        if tab == "chat":
            await expect(page.locator("#chat-thread table")).to_be_attached()
        if tab == "compare":
            await Compare(page).ended(2)
        if tab == "grid":
            await Compare(page, "grid").ended(3)
        if tab == "models":
            models = Models(page)
            await expect(models.row("kestrel-34b")).to_contain_text("offline")
            await models.press("pick-0")
            await expect(page.locator("#models-panel")).to_be_visible()
        if tab == "system":
            await expect(page.locator("#system-charts svg").first).to_be_visible()
            await expect(page.locator(".system-usage")).to_be_visible()
        return page


async def created(env: dict[str, str]) -> list[str]:
    """Keys for the relay whose data are where `env` says."""
    command = str(Path(sys.executable).with_name("h2o"))
    found = []
    for name in said.CALLERS:
        process = await asyncio.create_subprocess_exec(
            command, "keys", "create", name, env={**os.environ, **env},
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        told, _ = await process.communicate()
        found.append(told.decode().strip())
    return found


async def traffic(relay: Relay, keys: list[str], seconds: float) -> None:
    """Requests for every model, now more and now fewer, by all keys."""
    until = asyncio.get_running_loop().time() + seconds
    async with httpx.AsyncClient(base_url=relay.api, timeout=60) as client:

        async def ask(model: str) -> None:
            while asyncio.get_running_loop().time() < until:
                body = {"model": model, "stream": True,
                        "messages": [{"role": "user", "content": said.CHATTER}]}  # fmt: skip
                key = random.choices(keys, range(len(keys), 0, -1))[0]
                headers = {"authorization": f"Bearer {key}"}
                reply = await client.post("/v1/chat/completions", json=body, headers=headers)
                reply.raise_for_status()
                await asyncio.sleep(random.expovariate(0.5))

        await asyncio.gather(*(ask(model) for model in said.PACES))


def save(picture: bytes, name: str) -> Path:
    """As WebP, no larger than is good for a page of documentation."""
    file = FOLDER / f"{name}.webp"
    with Image.open(io.BytesIO(picture)) as image:
        for quality in QUALITIES:
            image.save(file, "WEBP", quality=quality, method=6)
            if file.stat().st_size <= LARGEST:
                break
    return file


@contextlib.asynccontextmanager
async def studio(tabs: list[str]) -> AsyncIterator[Studio]:
    servers = [Server(name, speak) for name in said.PACES]
    with tempfile.TemporaryDirectory() as folder:
        async with contextlib.AsyncExitStack() as stack:

            def env_of(name: str) -> dict[str, str]:
                return {"H2O_SAVE_DIR": "", "XDG_DATA_HOME": str(Path(folder, name)), **NO_PATHS}

            async def relay(name: str, option: str) -> Relay:
                started = running(lock(servers), Path(folder), option, env=env_of(name))
                return await stack.enter_async_context(started)

            browser = await stack.enter_async_context(chromium.launched())
            await stack.enter_async_context(opened(*servers))
            grid = await relay("grid", "--model_lock_columns=2") if "grid" in tabs else None
            keys = await created(env_of("all")) if "system" in tabs else []
            yield Studio(browser, await relay("all", "--add-models"), grid, keys)


async def make(tabs: list[str], tell: Callable[[str], None]) -> None:
    """The pictures of these tabs."""
    FOLDER.mkdir(exist_ok=True)
    async with studio(tabs) as made:
        seconds = TRAFFIC if made.keys else 0
        busy = asyncio.create_task(traffic(made.relay, made.keys, seconds))
        await made.furnish(tabs)
        for tab in tabs:
            if tab == "system":
                await busy
            for screen in SCREENS:
                for scheme in ("light", "dark"):
                    file = await made.shoot(tab, screen, scheme)
                    tell(f"{file.name}  {file.stat().st_size // 1000} kB")
        await busy


def main(argv: list[str]) -> int:
    unknown = set(argv) - set(TABS)
    if unknown:
        print(f"there is no tab {', '.join(sorted(unknown))}; there are {', '.join(TABS)}")
        return 2
    asyncio.run(make(argv or list(TABS), print))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
