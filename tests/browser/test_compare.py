"""Comparing models: none waits for another, and a blind vote is counted."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from h2o_relay.testing.upstream import until

from .screens import Compare
from .town import Town
from .visitor import PHONE, Visitor, visiting

pytestmark = [
    pytest.mark.e2e, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="session"),
]  # fmt: skip


async def test_a_dead_and_a_slow_model_delay_nobody(visitor: Visitor, town: Town) -> None:
    town.slow.gate.clear()
    compare = Compare(await visitor.page(town.chat))
    await compare.with_models("parrot", "dead", "slow")
    await compare.ask("All of you")
    await expect(compare.thread(0)).to_contain_text("of parrot to: All of you")
    await compare.ended(0)
    await expect(compare.foot(0)).to_contain_text("to first token")
    await expect(compare.thread(1)).to_contain_text("No answer")
    await expect(compare.thread(2)).to_contain_text("slow begins 0 1 2")
    await compare.answering(2)
    town.slow.gate.set()
    await expect(compare.thread(2)).to_contain_text("goes on to the end.")
    await compare.ended(2)


async def test_one_is_stopped_and_another_asked_again(visitor: Visitor, town: Town) -> None:
    compare = Compare(await visitor.page(town.chat))
    await compare.with_models("endless", "parrot")
    left, before = len(town.endless.left), len(town.parrot.chats)
    await compare.ask("Both of you")
    await expect(compare.thread(0)).to_contain_text("4 5 6")
    await compare.part("retry-1").click()
    await expect(compare.thread(1)).to_contain_text(f"Answer {before + 2} of parrot")
    assert len(town.endless.left) == left
    await compare.part("stop-0").click()
    await until(lambda: len(town.endless.left) > left, within=1)
    await expect(compare.foot(0)).to_contain_text("stopped")


@pytest.mark.parametrize("way", ["button", "Escape"])
async def test_all_are_stopped(visitor: Visitor, town: Town, way: str) -> None:
    compare = Compare(await visitor.page(town.chat))
    await compare.with_models("endless", "endless")
    left = len(town.endless.left)
    await compare.ask("Both of you")
    for at in range(2):
        await expect(compare.thread(at)).to_contain_text("4 5 6")
    if way == "button":
        await compare.part("stop").click()
    else:
        await compare.page.keyboard.press("Escape")
    await until(lambda: len(town.endless.left) >= left + 2, within=1)
    for at in range(2):
        await expect(compare.foot(at)).to_contain_text("stopped")


async def test_escape_closes_a_list_of_models_and_stops_nothing(
    visitor: Visitor, town: Town
) -> None:
    compare = Compare(await visitor.page(town.chat))
    await compare.with_models("endless", "parrot")
    left = len(town.endless.left)
    await compare.ask("Go on")
    await expect(compare.thread(0)).to_contain_text("4 5 6")
    field = compare.part("model-1").locator("input")
    await field.click()
    await expect(field).to_have_attribute("aria-expanded", "true")
    await field.press("Escape")
    await expect(field).to_have_attribute("aria-expanded", "false")
    await compare.answering(0)
    assert len(town.endless.left) == left
    await field.press("Escape")
    await until(lambda: len(town.endless.left) > left, within=1)


async def test_a_reload_in_mid_stream_loses_nothing(visitor: Visitor, town: Town) -> None:
    town.slow.gate.clear()
    page = await visitor.page(town.chat)
    compare = await Compare(page).with_models("slow", "parrot")
    await compare.ask("Stay")
    await expect(compare.thread(0)).to_contain_text("slow begins 0 1 2")
    await page.reload(wait_until="domcontentloaded")
    await page.get_by_role("tab", name="Compare").click()
    await expect(compare.thread(0)).to_contain_text("slow begins 0 1 2")
    await expect(compare.thread(1)).to_contain_text("of parrot to: Stay")
    town.slow.gate.set()
    await expect(compare.thread(0)).to_contain_text("goes on to the end.")


async def test_a_blind_vote_tells_the_names_and_is_counted(visitor: Visitor, town: Town) -> None:
    compare = Compare(await visitor.page(town.chat))
    await compare.with_models("whisper", "murmur")
    await compare.part("blind").get_by_role("checkbox").check()
    await compare.ask("Who is it?")
    await expect(compare.part("notice")).to_contain_text("Which answer is better?")
    shown = await compare.page.locator("#compare").inner_text()
    assert "whisper" not in shown
    assert "murmur" not in shown
    await compare.part("vote-0").click()
    await expect(compare.part("notice")).to_contain_text("This is who answered.")
    winner = "whisper" if "Hush" in await compare.thread(0).inner_text() else "murmur"
    await expect(compare.foot(0)).to_contain_text(winner)
    await expect(compare.foot(0)).to_contain_text("Your vote")
    await compare.part("leaderboard").click()
    rows = compare.part("board-table").locator("tbody tr")
    await expect(rows).to_have_count(2)
    await expect(rows.first).to_contain_text(winner)


async def test_a_phone_chooses_the_model_of_a_column_that_was_out_of_sight(
    browser: Browser, town: Town
) -> None:
    async with visiting(browser, viewport=PHONE, has_touch=True, is_mobile=True) as visitor:
        compare = Compare(await visitor.page(town.chat))
        await compare.with_models("parrot", "whisper", "murmur")
        await compare.ask("Who is there?")
        await expect(compare.thread(2)).to_contain_text("Hm, hm.")
        assert visitor.faults == []
