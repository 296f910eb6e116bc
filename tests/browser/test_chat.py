"""Talking: streaming, stop, retry, edit, a reload in mid-stream, and models that fail."""

from __future__ import annotations

import asyncio
import re

import pytest
import pytest_asyncio
from playwright.async_api import expect

from h2o_relay.testing.upstream import until

from .screens import Chat, open_tab
from .town import Town
from .visitor import Visitor

pytestmark = [
    pytest.mark.e2e, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="session"),
]  # fmt: skip
STOPS_WITHIN = 1.0  # seconds


@pytest_asyncio.fixture(loop_scope="session")
async def chat(visitor: Visitor, town: Town) -> Chat:
    return await Chat(await visitor.page(town.chat)).ready()


async def test_enter_sends_and_the_answer_says_where_it_is_from(chat: Chat, town: Town) -> None:
    await chat.choose("parrot")
    await chat.asked("How are you?", "of parrot to: How are you?")
    await expect(chat.box).to_have_value("")
    await expect(chat.thread).to_contain_text(re.compile(r"parrot · .*vllm_chat:.* to first token"))
    await expect(chat.thread).to_contain_text("tokens")
    await expect(chat.page.locator("#chat-meter")).to_contain_text("of 4,096 tokens")
    await expect(chat.chats.first).to_have_text("How are you?")
    await chat.asked("And now?", "of parrot to: And now?")
    roles = [message["role"] for message in town.parrot.asked[-1]]
    assert roles == ["user", "assistant", "user"]


async def test_shift_and_enter_starts_a_line(chat: Chat) -> None:
    await chat.box.fill("one")
    await chat.box.press("Shift+Enter")
    await chat.box.press_sequentially("two")
    await expect(chat.box).to_have_value("one\ntwo")
    await expect(chat.questions).to_have_count(0)


@pytest.mark.parametrize("way", ["button", "Escape"])
async def test_stop_reaches_the_server(chat: Chat, town: Town, way: str) -> None:
    before = len(town.endless.left)
    await chat.choose("endless")
    await chat.ask("Count")
    await expect(chat.thread).to_contain_text("10 11 12")
    for label in ("Retry", "Undo", "Edit"):  # all of which would be refused now
        await expect(chat.button(label)).to_be_disabled()
    if way == "button":
        await chat.stop()
    else:
        await chat.page.keyboard.press("Escape")
    await until(lambda: len(town.endless.left) > before, within=STOPS_WITHIN)
    await expect(chat.thread).to_contain_text("stopped")
    await chat.ended()
    said = await chat.said()
    await asyncio.sleep(0.3)
    assert await chat.said() == said


async def test_escape_stops_no_answer_of_a_tab_that_is_not_open(chat: Chat, town: Town) -> None:
    left = len(town.endless.left)
    await chat.choose("endless")
    await chat.ask("Count")
    await expect(chat.thread).to_contain_text("10 11 12")
    await open_tab(chat.page, "System")
    await chat.page.keyboard.press("Escape")
    await open_tab(chat.page, "Chat")
    await expect(chat.thread).to_contain_text(" 70 71 72")
    assert len(town.endless.left) == left
    await chat.stop()
    await until(lambda: len(town.endless.left) > left, within=STOPS_WITHIN)


async def test_retry_asks_the_same_again(chat: Chat, town: Town) -> None:
    await chat.choose("parrot")
    await chat.asked("Once more", "of parrot to: Once more")
    first = len(town.parrot.chats)
    await chat.button("Retry").click()
    await expect(chat.thread).to_contain_text(f"Answer {first + 1} of parrot to: Once more")
    await expect(chat.thread).not_to_contain_text(f"Answer {first} of")
    assert town.parrot.asked[-1] == town.parrot.asked[-2]


async def test_an_edited_question_is_asked_and_what_followed_it_is_gone(
    chat: Chat, town: Town
) -> None:
    await chat.choose("parrot")
    await chat.asked("The frist", "to: The frist")
    await chat.asked("The second", "to: The second")
    await chat.questions.first.hover()
    await chat.thread.get_by_role("button", name="Edit").first.click()
    field = chat.thread.locator("textarea").first
    await field.fill("The first")
    await chat.thread.get_by_role("button", name="Submit").first.click()
    await expect(chat.thread).to_contain_text("to: The first")
    await expect(chat.questions).to_have_count(1)
    assert [message["content"] for message in town.parrot.asked[-1]] == ["The first"]


async def test_undo_takes_the_question_back(chat: Chat) -> None:
    await chat.choose("parrot")
    await chat.asked("Never mind", "to: Never mind")
    await chat.button("Undo").click()
    await expect(chat.questions).to_have_count(0)
    await expect(chat.box).to_have_value("Never mind")


async def test_a_reload_in_mid_stream_loses_nothing(chat: Chat, town: Town) -> None:
    town.slow.gate.clear()
    await chat.choose("slow")
    await chat.ask("Take your time")
    await expect(chat.thread).to_contain_text("slow begins 0 1 2")
    await chat.page.reload(wait_until="domcontentloaded")
    await expect(chat.thread).to_contain_text("slow begins 0 1 2")
    assert town.slow.left == []
    town.slow.gate.set()
    await expect(chat.thread).to_contain_text("slow begins 0 1 2 and goes on to the end.")
    await chat.ended()


async def test_a_dead_server_is_told_in_the_thread_and_can_be_retried(
    chat: Chat, town: Town
) -> None:
    await chat.choose("dead")
    await chat.ask("Anybody?")
    await expect(chat.thread).to_contain_text("No answer")
    await expect(chat.thread).to_contain_text("dead · vllm_chat:")
    await expect(chat.thread.get_by_role("button", name="Retry").last).to_be_visible()
    await chat.ended()
    await chat.choose("parrot")
    await chat.thread.get_by_role("button", name="Retry").last.click()
    await expect(chat.thread).to_contain_text("of parrot to: Anybody?")


async def test_options_are_sent_and_kept(chat: Chat, town: Town) -> None:
    await chat.choose("parrot")
    await chat.set("system", "Be a parrot.")
    await chat.set("temperature", "0.3")
    await chat.set("stop", "END")
    await chat.asked("With options", "to: With options")
    asked = town.parrot.chats[-1].json()
    assert asked["messages"][0] == {"role": "system", "content": "Be a parrot."}
    assert (asked["temperature"], asked["stop"]) == (0.3, ["END"])
    await chat.page.reload(wait_until="domcontentloaded")
    await expect(chat.option("system")).to_have_value("Be a parrot.")
    await chat.set("temperature", "hot")
    await chat.ask("Too much")
    await expect(chat.notice).to_contain_text("which is not a number")
    await chat.set("temperature", "0.4")
    await chat.asked("Once more", "to: Once more")
    assert town.parrot.chats[-1].json()["temperature"] == 0.4


async def test_reasoning_is_folded(chat: Chat) -> None:
    await chat.choose("thinker")
    await chat.asked("Why?", "Because.")
    thought = chat.thread.get_by_text("Let me think")
    await expect(chat.thread.get_by_text("Reasoning")).to_be_visible()
    await expect(thought).to_be_hidden()
    await chat.thread.get_by_text("Reasoning").click()
    await expect(thought).to_be_visible()


async def test_the_embedded_model_answers(chat: Chat, embedded: str) -> None:
    await chat.choose(embedded)
    await chat.set("temperature", "0")
    await chat.ask("What is the capital of France?")
    await expect(chat.thread).to_contain_text("Paris", timeout=45_000)
    await expect(chat.thread).to_contain_text("tokens/s", timeout=45_000)
