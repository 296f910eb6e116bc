"""The models tab: what is there, and a server that is added, talked to and removed again."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from .screens import Chat, Models, open_tab
from .town import Town
from .visitor import Visitor

pytestmark = [
    pytest.mark.e2e, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="session"),
]  # fmt: skip


async def test_a_server_is_added_talked_to_and_removed(visitor: Visitor, town: Town) -> None:
    page = await visitor.page(town.chat)
    chat = await Chat(page).ready()
    models = await Models(page).open()
    await expect(models.row("dead")).to_contain_text("offline")
    await expect(models.row("parrot")).to_contain_text("healthy")
    await expect(models.row("parrot")).to_contain_text("4,096")
    await models.press("open")
    await models.fill("server", town.newcomer.string)
    await models.fill("base-model", "newcomer")
    await models.press("look")
    await expect(models.found).to_contain_text("newcomer")
    await models.press("add")
    await expect(models.message).to_contain_text("It is added.")
    await expect(models.row("newcomer")).to_contain_text("healthy")
    await models.press("test")
    await expect(models.message).to_contain_text("newcomer answered")
    await open_tab(page, "Chat")
    await chat.choose("newcomer")
    await chat.asked("Welcome", "of newcomer to: Welcome")
    await open_tab(page, "Models")
    await models.press("remove")
    await models.press("confirm-yes")
    await expect(models.row("newcomer")).to_have_count(0)


async def test_a_server_that_is_not_there_is_told_before_it_is_added(
    visitor: Visitor, town: Town
) -> None:
    models = await Models(await visitor.page(town.chat)).open()
    await models.press("open")
    await models.fill("server", f"vllm_chat:http://127.0.0.1:{town.dead_port}/v1")
    await models.fill("base-model", "nobody")
    await models.press("add")
    await expect(models.found).to_contain_text("127.0.0.1")
    await expect(models.found).to_contain_text("Nothing is added yet")
    await expect(models.found).to_be_visible()
    await models.press("cancel")
    await expect(models.row("nobody")).to_have_count(0)


async def test_what_is_missing_is_told_where_it_can_be_read(visitor: Visitor, town: Town) -> None:
    models = await Models(await visitor.page(town.chat)).open()
    await models.press("open")
    await models.press("look")
    told = models.page.get_by_text("Say which server has the model")
    await expect(told).to_be_visible()
    await models.press("cancel")
    await models.fill("find", "nothing is called this")
    await expect(models.page.get_by_text("No model or server has all these words")).to_be_visible()
