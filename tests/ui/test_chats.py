"""What the chat tab does to conversations, over a relay that answers as it is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from h2o_relay.errors import InvalidRequest, NotFound, UpstreamUnavailable
from h2o_relay.store import Conversation
from h2o_relay.testing.upstream import until
from h2o_relay_ui import thread
from h2o_relay_ui.chats import BUSY, NEW_TEMPORARY, Chats
from h2o_relay_ui.conversation import images_of

from .fakes import FakeRelay, Script, view
from .kit import ME, Talk, talk

pytestmark = pytest.mark.usefixtures("leaves_nothing")
PNG = "data:image/png;base64,AAAA"


@contextlib.asynccontextmanager
async def over(*views: object, **scripts: Script) -> AsyncIterator[tuple[Talk, FakeRelay]]:
    relay = FakeRelay(*(views or (view("parrot"), view("slow"))), scripts=scripts)  # type: ignore[arg-type]
    async with talk(relay) as one:
        yield one, relay


def said(messages: list[thread.Message]) -> list[str]:
    return [str(message["content"]) for message in messages]


async def test_a_first_question_makes_a_conversation() -> None:
    async with over() as (one, _):
        messages = await one.ask("What is it?", "slow", {"temperature": "0,5"})
        [summary] = await one.context.conversations.list(ME)
        chat = await one.context.conversations.get(ME, summary.id)
    assert said(messages) == ["What is it?", "Hello there."]
    assert (chat.title, chat.kind) == ("What is it?", "chat")
    assert chat.settings == {"model": "slow", "options": {"temperature": "0,5"}}


async def test_what_answers_at_once_is_shown_with_its_question() -> None:
    held = asyncio.Event()
    async with over(parrot=Script(hold=held), slow=Script(wait=60)) as (one, _):
        chat = await one.chats.ask("", "hi", [], "parrot", {})
        assert chat.messages[-1]["content"].startswith("Hello")
        assert chat.messages[-1]["state"] == "running"
        chat = await one.chats.ask("", "hi", [], "slow", {})  # nobody waits for that one
        assert said(chat.messages) == ["hi", ""]
        held.set()


async def test_what_cannot_be_asked_makes_none() -> None:
    async with over() as (one, relay):
        for model, texts in (("parrot", {"temperature": "hot"}), ("gone", {}), (None, {})):
            with pytest.raises(InvalidRequest):
                await one.chats.ask("", "hi", [], model, texts)
        relay.put(view("", state="offline", reason="it is down"))
        with pytest.raises(UpstreamUnavailable, match="it is down"):
            await one.chats.ask("", "hi", [], None, {})
        assert await one.context.conversations.list(ME) == []
    assert relay.asked == []


async def test_one_answer_at_a_time_whichever_window_asks() -> None:
    async with over(parrot=Script(wait=60)) as (one, relay):
        await one.begin("one")
        other = Chats(one.context, ME)
        for work in (
            other.ask(one.id, "two", [], "parrot", {}),
            other.again(one.id, "parrot", {}),
            other.edit(one.id, 0, "one", "eins", "parrot", {}),
        ):
            with pytest.raises(InvalidRequest) as caught:
                await work
            assert caught.value.message == BUSY
        with pytest.raises(InvalidRequest, match="still coming"):
            await other.undo(one.id)
        await until(lambda: len(relay.asked) == 1, within=5)
        assert said((await one.chats.open(one.id)).messages) == ["one", ""]


async def test_two_questions_at_the_same_time_are_not_both_asked() -> None:
    async with over(parrot=Script(wait=60)) as (one, _):
        chat = await one.context.turns.shelf.create(ME)
        done = await asyncio.gather(
            *(Chats(one.context, ME).ask(chat.id, f"{n}", [], "parrot", {}) for n in range(4)),
            return_exceptions=True,
        )
        assert sum(isinstance(result, InvalidRequest) for result in done) == 3
        assert len((await one.chats.open(chat.id)).messages) == 2


async def test_again_drops_what_followed_the_last_question() -> None:
    async with over(parrot=Script(pieces=("uno",)), slow=Script(pieces=("due",))) as (one, relay):
        await one.ask("one")
        await one.ask("two")
        await one.chats.again(one.id, "slow", {"seed": "7"})
        await until(lambda: one.context.turns.count() == 0, within=5)
        chat = await one.chats.open(one.id)
        empty = await one.context.turns.shelf.create(ME)
        with pytest.raises(InvalidRequest, match="no question"):
            await one.chats.again(empty.id, "parrot", {})
    assert said(chat.messages) == ["one", "uno", "two", "due"]
    assert (chat.messages[-1]["model"], chat.settings["model"]) == ("slow", "slow")
    assert relay.asked[-1].params["seed"] == 7
    assert [m["content"] for m in relay.asked[-1].params["messages"]] == ["one", "uno", "two"]


async def test_an_edited_question_is_asked_and_the_rest_goes() -> None:
    async with over(parrot=Script(reasoning=("hm",))) as (one, _):
        await one.ask("one")
        await one.ask("two")
        # Rows: one, thought, answer, figures, two ...
        await one.chats.edit(one.id, 4, "two", "zwei", "parrot", {})
        await until(lambda: one.context.turns.count() == 0, within=5)
        assert said((await one.chats.open(one.id)).messages)[::2] == ["one", "zwei"]
        await one.chats.edit(one.id, 0, "one", "eins", "parrot", {})
        await until(lambda: one.context.turns.count() == 0, within=5)
        assert said((await one.chats.open(one.id)).messages) == ["eins", "Hello there."]


@pytest.mark.parametrize(
    ("row", "before"), [(0, "another text"), (1, "Hello there."), (7, "one"), (-1, "one")]
)
async def test_an_edit_of_what_another_window_changed_is_refused(row: int, before: str) -> None:
    async with over() as (one, _):
        kept = await one.ask("one")
        with pytest.raises(InvalidRequest, match="changed in another window"):
            await one.chats.edit(one.id, row, before, "x", "parrot", {})
        with pytest.raises(InvalidRequest, match="cannot be empty"):
            await one.chats.edit(one.id, 0, "one", " ", "parrot", {})
        assert (await one.chats.open(one.id)).messages == kept


async def test_an_edited_question_keeps_its_images() -> None:
    async with over(view("parrot", vision=True)) as (one, relay):
        chat = await one.chats.ask("", "see", [PNG], "parrot", {})
        await until(lambda: one.context.turns.count() == 0, within=5)
        await one.chats.edit(chat.id, 0, "see", "look", "parrot", {})
        await until(lambda: one.context.turns.count() == 0, within=5)
    [told] = relay.asked[-1].params["messages"]
    assert images_of(told) == [PNG]
    assert told["content"][-1] == {"type": "text", "text": "look"}


async def test_undo_takes_the_last_question_back() -> None:
    async with over() as (one, _):
        await one.ask("one")
        await one.ask("two")
        chat, question = await one.chats.undo(one.id)
        assert (question or {})["content"] == "two"
        assert said(chat.messages) == ["one", "Hello there."]
        await one.chats.undo(one.id)
        chat, question = await one.chats.undo(one.id)
        assert (chat.messages, question) == ([], None)


@pytest.mark.parametrize(("vision", "taken"), [(True, True), (None, True), (False, False)])
async def test_images_go_to_models_that_may_see(vision: bool | None, taken: bool) -> None:
    async with over(view("parrot", vision=vision)) as (one, relay):
        if taken:
            await one.chats.ask("", "", [PNG], "parrot", {})
            await until(lambda: len(relay.asked) == 1, within=5)
            assert images_of(relay.asked[0].params["messages"][0]) == [PNG]
        else:
            with pytest.raises(InvalidRequest, match="parrot does not take images"):
                await one.chats.ask("", "see", [PNG], "parrot", {})


async def test_a_temporary_chat_is_not_stored() -> None:
    async with over() as (one, _):
        one.id = NEW_TEMPORARY
        await one.ask("secret")
        messages = await one.ask("and more")
        assert said(messages)[::2] == ["secret", "and more"]
        assert await one.context.conversations.list(ME) == []


async def test_nobody_reaches_another_ones_chat() -> None:
    async with over() as (one, _):
        await one.ask("mine")
        await until(lambda: one.context.turns.count() == 0, within=5)
        stranger = Chats(one.context, "another")
        for work in (
            stranger.open(one.id),
            stranger.ask(one.id, "x", [], "parrot", {}),
            stranger.again(one.id, "parrot", {}),
            stranger.edit(one.id, 0, "mine", "x", "parrot", {}),
            stranger.undo(one.id),
            stranger.choose(one.id, "slow"),
        ):
            with pytest.raises(NotFound):
                await work
        assert stranger.turn(one.id) is None
        assert said((await one.chats.open(one.id)).messages) == ["mine", "Hello there."]


async def test_a_comparison_is_no_chat() -> None:
    async with over() as (one, _):
        other = await one.context.conversations.create(ME, kind="compare")
        with pytest.raises(NotFound):
            await one.chats.open(other.id)


async def test_another_window_cannot_stop_another_ones_answer() -> None:
    async with over(parrot=Script(wait=60)) as (one, _):
        turn = await one.begin("mine")
        Chats(one.context, "another").stop(one.id)
        assert turn.running
        one.chats.stop(one.id)
        await until(lambda: not turn.running, within=5)
        one.chats.stop("nothing there")


async def test_a_restart_leaves_a_stopped_answer_behind() -> None:
    async with over() as (one, _):
        cut = {**thread.answer("parrot"), "content": "so far"}
        chat = await one.context.turns.shelf.create(ME, messages=[thread.question("one"), cut])
        opened = await one.chats.open(chat.id)
        assert [m.get("state") for m in opened.messages] == [None, "stopped"]
        one.id = chat.id
        assert said(await one.ask("go on")) == ["one", "so far", "go on", "Hello there."]


async def test_an_answer_that_ends_while_the_store_is_read_is_shown_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hold = asyncio.Event()
    async with over(parrot=Script(hold=hold)) as (one, _):
        turn = await one.begin("one")
        read = one.context.conversations.get

        async def slowly(owner: str, id: str) -> Conversation:
            monkeypatch.undo()
            found = await read(owner, id)
            hold.set()
            await until(lambda: one.context.turns.count() == 0, within=5)
            return found

        monkeypatch.setattr(one.context.conversations, "get", slowly)
        messages = (await one.chats.open(one.id)).messages
    assert not turn.running
    assert [m.get("state") for m in messages] == [None, "done"]
    assert said(messages) == ["one", "Hello there."]


async def test_a_question_waits_until_the_answer_before_it_is_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with over(parrot=Script(delay=0.05)) as (one, relay):
        turn = await one.begin("one")
        save = one.context.conversations.save
        busy, free = asyncio.Event(), asyncio.Event()

        async def slowly(*given: Any, **changes: Any) -> None:
            busy.set()
            await free.wait()
            await save(*given, **changes)

        monkeypatch.setattr(one.context.conversations, "save", slowly)
        await asyncio.wait_for(busy.wait(), 5)  # with its first piece
        await until(lambda: not turn.running, within=5)
        asking = asyncio.create_task(one.begin("two"))
        await asyncio.sleep(0.05)
        free.set()
        await asking
        await until(lambda: len(relay.asked) == 2, within=5)
    told = relay.asked[-1].params["messages"]
    assert [m["content"] for m in told] == ["one", "Hello there.", "two"]


async def test_the_context_is_limited_as_asked_and_that_is_noted() -> None:
    async with over() as (one, relay):
        long = [
            {**thread.answer("parrot"), "content": "old " * 100, "state": "done"}
            if n % 2
            else thread.question("ancient " * 50)
            for n in range(6)
        ]
        chat = await one.context.turns.shelf.create(ME, messages=long)
        one.id = chat.id
        texts = {"context": "500", "system": "Be brief.", "max_tokens": "50"}
        messages = await one.ask("now?", "parrot", texts)
        told = relay.asked[-1].params["messages"]
        assert [m["role"] for m in told] == ["system", "user", "assistant", "user"]
        assert "context" not in relay.asked[-1].params
        assert messages[-1]["notes"] == [
            "4 of the oldest messages were left out to stay within 500 tokens, as estimated"
        ]
        messages = await one.ask("word " * 400, "parrot", {"context": "100"})
        assert len(relay.asked[-1].params["messages"]) == 1
        assert messages[-1]["notes"] == [
            "the last message alone is estimated to be longer than 100 tokens: it was sent alone"
        ]


async def test_a_model_is_remembered_by_its_chat() -> None:
    async with over() as (one, _):
        await one.ask("one")
        await until(lambda: one.context.turns.count() == 0, within=5)
        chat = await one.chats.choose(one.id, "slow")
        assert chat.settings["model"] == "slow"
        assert (await one.chats.open(one.id)).settings == {"model": "slow", "options": {}}
