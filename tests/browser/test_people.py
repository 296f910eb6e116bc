"""Several people on one relay, which is killed and started again: sign-in, and whose chats are
whose. The relay has the grid of h2oGPT's --model_lock_columns.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from .relay import Relay, running
from .screens import Chat, Compare, open_tab
from .servers import Server, numbered, opened
from .town import unused_port
from .visitor import Visitor, visiting

pytestmark = [
    pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="session"),
]  # fmt: skip
PASSWORDS = {"ann": "ann's own words", "bob": "bob's own words"}
NAMES = ("north", "east", "south", "west")
FREED_WITHIN = 20.0  # seconds


class House:
    """A relay with four models that can be killed and started again where it was."""

    def __init__(self, folder: Path) -> None:
        self.models = [Server(name, numbered) for name in NAMES]
        self.folder = folder
        self.port = unused_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._relay: Relay | None = None
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        options = ("--auth_access=closed", "--model_lock_columns=2")
        env = {"H2O_AUTH": json.dumps(list(PASSWORDS.items()))}
        lock = [model.entry for model in self.models]
        self._relay = await self._stack.enter_async_context(
            running(lock, self.folder, *options, port=self.port, env=env)
        )

    async def restart(self) -> None:
        """Without a word to anybody, as when the power goes."""
        assert self._relay is not None
        await self._relay.kill()
        async with asyncio.timeout(FREED_WITHIN):
            await gone(self.port)
        await self.start()

    @property
    def api(self) -> str:
        assert self._relay is not None
        return self._relay.api

    def page_process(self) -> int:
        """The process that serves the page, a child of the relay's."""
        assert self._relay is not None
        children = Path(f"/proc/{self._relay.process.pid}/task/{self._relay.process.pid}/children")
        for pid in children.read_text().split():
            if b"h2o_relay_ui" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return int(pid)
        raise AssertionError("the page has no process")

    async def close(self) -> None:
        await self._stack.aclose()


async def gone(port: int) -> None:
    """Wait until nobody listens: the page's process notices that its parent is dead."""
    with contextlib.suppress(ConnectionError):
        while True:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    made = House(tmp_path_factory.mktemp("house"))
    async with opened(*made.models):
        try:
            await made.start()
            yield made
        finally:
            await made.close()


async def sign_in(page: Page, name: str, password: str) -> None:
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in").click()


async def at_home(visitor: Visitor, house: House, name: str, query: str = "") -> Chat:
    """Signed in, with the chat tab open."""
    page = await visitor.page(house.url + query)
    await sign_in(page, name, PASSWORDS[name])
    await open_tab(page, "Chat")
    return await Chat(page).ready()


async def test_a_wrong_password_lets_nobody_in(visitor: Visitor, house: House) -> None:
    page = await visitor.page(house.url)
    for name, password in (("ann", PASSWORDS["bob"]), ("eve", "anything")):
        await sign_in(page, name, password)
        await expect(page.get_by_role("alert")).to_be_visible()
        await expect(page.locator("#chat-box")).to_have_count(0)
    asked = await visitor.context.request.get(f"{house.url}/config")
    assert asked.status == 401
    visitor.faults.clear()  # the browser tells the refusal's status as an error


async def test_who_signs_out_is_asked_again(visitor: Visitor, house: House) -> None:
    chat = await at_home(visitor, house, "ann")
    await chat.choose("north")
    await chat.asked("Hello", "of north to: Hello")
    page = chat.page
    await expect(page.locator("#conversations")).to_contain_text("ann")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("Password")).to_be_visible()
    await page.goto(house.url)
    await expect(page.get_by_label("Password")).to_be_visible()


async def test_anothers_chat_is_not_reachable(
    visitor: Visitor, browser: Browser, house: House
) -> None:
    anns = await at_home(visitor, house, "ann")
    await anns.choose("east")
    await anns.asked("The secret is blue", "to: The secret is blue")
    id = await anns.id()
    async with visiting(browser) as other:
        bobs = await at_home(other, house, "bob", f"?c={id}")
        assert id not in bobs.page.url
        await expect(bobs.notice).to_contain_text("not there")
        await expect(bobs.thread).not_to_contain_text("blue")
        await expect(bobs.chats).to_have_count(0)
        await bobs.page.locator("#conversations-search textarea").fill("secret")
        await expect(bobs.page.locator("#conversations")).to_contain_text("No chat has")
    await anns.page.goto(f"{house.url}/?c={id}")
    await open_tab(anns.page, "Chat")
    await expect(anns.thread).to_contain_text("The secret is blue")


async def test_the_system_tab_shows_no_secret(visitor: Visitor, house: House) -> None:
    chat = await at_home(visitor, house, "bob")
    await open_tab(chat.page, "System")
    await expect(chat.page.locator("#system-settings")).to_contain_text("***")
    shown = await chat.page.locator("#system").inner_text()
    assert "auth" in shown
    assert not [password for password in PASSWORDS.values() if password in shown]


async def test_a_grid_of_four_answers_one_question(visitor: Visitor, house: House) -> None:
    chat = await at_home(visitor, house, "ann")
    await open_tab(chat.page, "Grid")
    grid = Compare(chat.page, "grid")
    await grid.ask("Who are you?")
    places = []
    for at, name in enumerate(NAMES):
        await expect(grid.part(f"name-{at}")).to_have_text(name)
        await expect(grid.thread(at)).to_contain_text(f"of {name} to: Who are you?")
        await expect(grid.foot(at)).to_contain_text("to first token")
        box = await grid.part(f"col-{at}").bounding_box()
        assert box is not None
        places.append((round(box["x"]), round(box["y"])))
    xs, ys = {x for x, _ in places}, {y for _, y in places}
    assert (len(xs), len(ys)) == (2, 2), places
    await expect(grid.part("col-4")).to_be_hidden()


async def test_a_chat_goes_on_after_the_relay_was_killed(visitor: Visitor, house: House) -> None:
    chat = await at_home(visitor, house, "ann")
    await chat.choose("west")
    await chat.asked("Before the night", "to: Before the night")
    before = await chat.said()
    await house.restart()
    page = chat.page
    await page.goto(house.url)  # still signed in
    await open_tab(page, "Chat")
    await chat.ready()
    await chat.chats.filter(has_text="Before the night").click()
    await expect(chat.thread).to_contain_text("to: Before the night")
    assert await chat.said() == before
    await chat.asked("And after it", "to: And after it")
    roles = [message["role"] for message in house.models[3].asked[-1]]
    assert roles == ["user", "assistant", "user"]
    visitor.faults.clear()  # the page noticed that its server was away


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are found in /proc")
async def test_a_page_that_dies_comes_back_and_the_api_never_notices(house: House) -> None:
    before, waits = house.page_process(), []
    async with httpx.AsyncClient(timeout=5) as http:
        os.kill(before, signal.SIGKILL)
        async with asyncio.timeout(90):
            while True:
                start = time.monotonic()
                assert (await http.get(f"{house.api}/health")).status_code == 200
                waits.append(time.monotonic() - start)
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get(house.url)).status_code == 200:
                        break
                await asyncio.sleep(0.1)
    assert house.page_process() != before
    assert len(waits) > 3
    assert max(waits) < 2, "the API waited for the page"
