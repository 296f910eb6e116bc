"""Answers that run whoever looks: kept in the store as they grow, stopped, watched, ended."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest

from h2o_relay.errors import StoreError, UpstreamDisconnected
from h2o_relay.store import Conversations, Store
from h2o_relay.testing.upstream import until
from h2o_relay_ui import thread, turns
from h2o_relay_ui.context import Relay
from h2o_relay_ui.turns import Turn, Turns

from .fakes import FakeRelay, Script, view

pytestmark = pytest.mark.usefixtures("leaves_nothing")
ME = "somebody"
WORDS = [f"word{n} " for n in range(12)]


@pytest.fixture
async def conversations(tmp_path: Path) -> AsyncIterator[Conversations]:
    async with Store(f"sqlite:///{tmp_path}/relay.db") as store:
        yield Conversations(store)


def of(relay: FakeRelay, conversations: Any) -> Turns:
    return Turns(cast(Relay, relay), conversations)


def asked(model: str = "parrot") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}]}


async def ended(turn: Turn) -> None:
    async with aclosing(turn.updates(0)) as updates:
        async for _ in updates:
            pass


async def stored(conversations: Conversations, id: str) -> list[dict[str, Any]]:
    return (await conversations.get(ME, id)).messages


async def test_an_answer_grows_is_watched_by_many_and_is_kept(conversations: Any) -> None:
    relay = FakeRelay(view("parrot"), scripts={"parrot": Script(pieces=WORDS, delay=0.01)})
    chat = await conversations.create(ME, messages=[thread.question("hi")])
    own = of(relay, conversations)
    turn = own.start(ME, chat.id, "", asked())
    assert own.running(ME, chat.id) == {"": turn}

    async def watched() -> list[str]:
        async with aclosing(turn.updates(0)) as updates:
            return [turn.message["content"] async for _ in updates]

    seen, other = await asyncio.gather(watched(), watched())
    for texts in (seen, other):
        assert texts[0] == ""
        assert texts[-1] == "".join(WORDS)
        assert all(b.startswith(a) for a, b in itertools.pairwise(texts))
        assert len(texts) > 4
    await until(lambda: own.running(ME, chat.id) == {}, within=5)
    question, answer = await stored(conversations, chat.id)
    assert question["role"] == "user"
    assert answer == turn.message
    assert (answer["state"], answer["error"], answer["finish_reason"]) == ("done", None, "stop")
    assert (answer["model"], answer["server"]) == ("parrot", "vllm_chat:gpu1:8000")
    figures = answer["figures"]
    assert (figures["tokens"], figures["prompt_tokens"], figures["estimated"]) == (12, 7, False)
    assert 0 <= figures["first_token"] <= figures["seconds"]
    assert relay.asked[0].params["stream_options"] == {"include_usage": True}
    assert relay.asked[0].params["truncation"] == "auto"


async def test_who_comes_late_sees_the_end(conversations: Any) -> None:
    chat = await conversations.create(ME)
    own = of(FakeRelay(view("parrot")), conversations)
    turn = own.start(ME, chat.id, "", asked())
    await ended(turn)
    async with aclosing(turn.updates()) as updates:
        assert [turn.message["content"] async for _ in updates] == ["Hello there."]
    await own.close()


async def test_the_first_chunk_is_shown_at_once_however_slow_the_pace(conversations: Any) -> None:
    script = Script(pieces=("a", "b"), hold=asyncio.Event(), wait=0.05)
    chat = await conversations.create(ME)
    own = of(FakeRelay(view("parrot"), scripts={"parrot": script}), conversations)
    turn = own.start(ME, chat.id, "", asked())
    async with aclosing(turn.updates(60)) as updates:
        await anext(updates)
        async with asyncio.timeout(10):
            await anext(updates)
        assert turn.message["content"].startswith("a")
        script.hold.set()  # type: ignore[union-attr]
        async with asyncio.timeout(10):  # the end waits for no pace either
            await anext(updates)
        assert not turn.running
    await own.close()


async def test_stop_closes_the_upstream_and_keeps_what_there_is(conversations: Any) -> None:
    relay = FakeRelay(
        view("parrot"), scripts={"parrot": Script(pieces=WORDS, delay=0.01, endless=True)}
    )
    chat = await conversations.create(ME)
    own = of(relay, conversations)
    turn = own.start(ME, chat.id, "", asked())
    await until(lambda: len(turn.message["content"]) > 20, within=5)
    await own.stop(ME, chat.id)
    assert relay.asked[0].closed
    assert turn.message["state"] == "stopped"
    [answer] = await stored(conversations, chat.id)
    assert answer == turn.message
    assert answer["content"].startswith("word0 word1")
    assert answer["figures"]["estimated"] is True
    turn.stop()
    assert turn.message["state"] == "stopped"


async def test_stop_before_the_first_word_closes_the_upstream(conversations: Any) -> None:
    relay = FakeRelay(view("parrot"), scripts={"parrot": Script(wait=60)})
    chat = await conversations.create(ME)
    own = of(relay, conversations)
    turn = own.start(ME, chat.id, "", asked())
    await until(lambda: len(relay.asked) == 1, within=5)
    turn.stop()
    await ended(turn)
    assert relay.asked[0].closed
    assert (turn.message["state"], turn.message["content"]) == ("stopped", "")
    await own.close()


async def test_a_growing_answer_is_saved_before_its_end(
    conversations: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "SAVE_EVERY", 0.01)
    script = Script(pieces=("so far",), hold=asyncio.Event())
    chat = await conversations.create(ME)
    own = of(FakeRelay(view("parrot"), scripts={"parrot": script}), conversations)
    own.start(ME, chat.id, "", asked())
    async with asyncio.timeout(10):
        while True:
            [answer] = await stored(conversations, chat.id) or [{"content": ""}]
            if answer["content"] == "so far":
                break
            await asyncio.sleep(0.01)
    assert answer["state"] == "running"
    assert thread.settled([answer], {})[0]["state"] == "stopped"
    await own.close()


async def test_an_error_is_kept_with_what_was_said_before_it(conversations: Any) -> None:
    script = Script(pieces=("so far",), error=UpstreamDisconnected("it went away"))
    chat = await conversations.create(ME)
    own = of(FakeRelay(view("parrot"), scripts={"parrot": script}), conversations)
    turn = own.start(ME, chat.id, "", asked())
    await ended(turn)
    await until(lambda: own.count() == 0, within=5)
    [answer] = await stored(conversations, chat.id)
    assert (answer["content"], answer["state"]) == ("so far", "failed")
    assert answer["error"] == {
        "message": "it went away", "code": "upstream_disconnected", "status": 502,
    }  # fmt: skip


async def test_a_fault_of_the_page_is_told_and_logged(
    conversations: Any, caplog: pytest.LogCaptureFixture
) -> None:
    relay = FakeRelay(view("parrot"))
    relay.find = None  # type: ignore[method-assign, assignment]
    chat = await conversations.create(ME)
    own = of(relay, conversations)
    turn = own.start(ME, chat.id, "", asked())
    await ended(turn)
    assert turn.message["error"]["message"] == "The chat page failed. The relay's log says why."
    assert "the chat page failed" in caplog.text
    await own.close()


async def test_reasoning_between_tags_is_parted_and_notes_are_kept(conversations: Any) -> None:
    script = Script(pieces=("<think>hm", "</think>\n\nyes"), notes={"trimmed": "2"})
    chat = await conversations.create(ME)
    own = of(FakeRelay(view("parrot"), scripts={"parrot": script}), conversations)
    turn = own.start(ME, chat.id, "", asked())
    await ended(turn)
    assert (turn.message["reasoning"], turn.message["content"]) == ("hm", "yes")
    [note] = turn.message["notes"]
    assert note.startswith("2 older messages")
    await own.close()


async def test_columns_run_at_once_and_one_slot_has_one_answer(conversations: Any) -> None:
    relay = FakeRelay(
        view("parrot"), view("slow"), scripts={"slow": Script(wait=60), "parrot": Script()}
    )
    chat = await conversations.create(ME, kind="compare")
    own = of(relay, conversations)
    slow = own.start(ME, chat.id, "0", asked("slow"))
    quick = own.start(ME, chat.id, "1", asked("parrot"))
    assert own.running(ME, chat.id) == {"0": slow, "1": quick}
    assert own.running("another", chat.id) == {}
    await ended(quick)
    again = own.start(ME, chat.id, "0", asked("parrot"))
    await ended(slow)
    await ended(again)
    assert slow.message["state"] == "stopped"
    await until(lambda: own.count() == 0, within=5)
    messages = await stored(conversations, chat.id)
    assert sorted((m["slot"], m["state"]) for m in messages) == [
        ("0", "done"), ("0", "stopped"), ("1", "done"),
    ]  # fmt: skip


async def test_an_answer_that_was_taken_out_does_not_come_back(conversations: Any) -> None:
    relay = FakeRelay(view("parrot"), scripts={"parrot": Script(wait=60)})
    question, answer = thread.question("hi"), thread.answer("parrot")
    chat = await conversations.create(ME, messages=[question, answer])
    own = of(relay, conversations)
    own.start(ME, chat.id, "", asked(), message=answer)
    await until(lambda: len(relay.asked) == 1, within=5)
    await own.shelf.change(ME, chat.id, lambda messages: messages[:1])
    await own.stop(ME, chat.id)
    assert await stored(conversations, chat.id) == [question]


async def test_deleting_a_conversation_ends_its_answer_quietly(
    conversations: Any, caplog: pytest.LogCaptureFixture
) -> None:
    relay = FakeRelay(view("parrot"), scripts={"parrot": Script(wait=60)})
    chat = await conversations.create(ME)
    own = of(relay, conversations)
    own.start(ME, chat.id, "", asked())
    await until(lambda: len(relay.asked) == 1, within=5)
    await conversations.delete(ME, chat.id)
    await own.stop(ME, chat.id)
    assert caplog.records == []


async def test_a_store_that_fails_is_told_under_the_answer(
    conversations: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = await conversations.create(ME)
    own = of(FakeRelay(view("parrot")), conversations)

    async def save(*_: Any, **__: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(conversations, "save", save)
    gone: list[Turn] = []
    turn = own.start(ME, chat.id, "", asked(), gone.append)
    await until(lambda: gone == [turn], within=5)
    assert turn.message["content"] == "Hello there."
    assert turn.message["notes"] == ["this answer could not be saved: the disk is full"]


async def test_two_changes_of_one_conversation_lose_nothing(conversations: Any) -> None:
    own = of(FakeRelay(view("parrot")), conversations)
    chat = await own.shelf.create(ME)

    async def add(number: int) -> None:
        new = thread.question(str(number))
        await own.shelf.change(ME, chat.id, lambda messages: [*messages, new])

    await asyncio.gather(*(add(number) for number in range(8)))
    texts = [m["content"] for m in await stored(conversations, chat.id)]
    assert sorted(texts) == [str(number) for number in range(8)]


async def test_a_temporary_conversation_is_nowhere_but_here(conversations: Any) -> None:
    own = of(FakeRelay(view("parrot")), conversations)
    chat = await own.shelf.create(ME, temporary=True, messages=[thread.question("hi")])
    await ended(own.start(ME, chat.id, "", asked()))
    await until(lambda: own.count() == 0, within=5)
    held = await own.shelf.get(ME, chat.id)
    assert [m["content"] for m in held.messages] == ["hi", "Hello there."]
    assert await conversations.list(ME) == []
    for owner in (ME, "another"):
        if owner == ME:
            await own.shelf.delete(ME, chat.id)
        with pytest.raises(turns.NotFound):
            await own.shelf.get(owner, chat.id)


async def test_closing_stops_all_answers_and_saves_them(conversations: Any) -> None:
    relay = FakeRelay(
        view("parrot"), scripts={"parrot": Script(pieces=("a ",), delay=0.01, endless=True)}
    )
    own = of(relay, conversations)
    ids = [(await conversations.create(ME)).id for _ in range(3)]
    started = [own.start(ME, id, "", asked()) for id in ids]
    await until(lambda: all(turn.message["content"] for turn in started), within=5)
    await own.close()
    for id in ids:
        [answer] = await stored(conversations, id)
        assert answer["state"] == "stopped"
        assert answer["content"]
    assert all(asked.closed for asked in relay.asked)
