"""The chat tab's events: what a page shows after each."""

from __future__ import annotations

import asyncio
import base64
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from h2o_relay.errors import StoreError, UpstreamUnreachable
from h2o_relay.testing.upstream import until
from h2o_relay_ui import chats
from h2o_relay_ui.chats import BUSY, NEW, NEW_TEMPORARY
from h2o_relay_ui.shelf import MISSING

from .chat_page import Page, names, opened
from .fakes import FakeRelay, Script, view

pytestmark = [
    pytest.mark.usefixtures("no_stray_tasks"),  # Gradio sets an environment variable
    pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed"),
]
PNG = b"\x89PNG\r\n\x1a\n0000"


def relay(**scripts: Script) -> FakeRelay:
    views = (view("parrot"), view("slow"), view("dead", state="offline", reason="refused"))
    return FakeRelay(*views, scripts=scripts)


async def test_a_page_opens_empty_with_the_models() -> None:
    async with opened(relay()) as page:
        assert page.texts() == []
        assert page.shown["model"]["choices"][2] == ("dead (offline)", "dead")
        assert (page.value("model"), page.shown["timer"]["active"]) == ("parrot", False)
        assert page.shown["thread"]["placeholder"].startswith("### Ask anything")
        assert not page.sees("banner")
        assert not page.sees("this")
        await page.load("slow")
        assert page.value("model") == "slow"


async def test_a_page_without_a_model_says_why_and_looks_again() -> None:
    fake = FakeRelay(view("", state="unknown", reason="it is *starting*"))
    async with opened(fake) as page:
        assert page.shown["timer"]["active"] is True
        assert "it is \\*starting\\*" in page.shown["thread"]["placeholder"]
        await page.send("hi")
        assert page.sees("notice")
        fake.put(view("parrot"))
        page.take(await page.chat.look(page.request(), page.value("model")))
        assert (page.value("model"), page.shown["timer"]["active"]) == ("parrot", False)


async def test_models_that_the_key_is_not_for_are_not_offered() -> None:
    async with opened(relay()) as page:
        page.context.models_of = lambda owner: ("s*", "dead") if owner == page.user else ()
        page.take(await page.chat.look(page.request(), None))
        assert page.shown["model"]["choices"] == [("slow", "slow"), ("dead (offline)", "dead")]
        assert page.value("model") == "slow"
        await page.load("parrot")
        assert page.value("model") == "slow", "also where another one was remembered"


async def test_looking_again_does_not_take_the_choice_back() -> None:
    async with opened(relay()) as page:
        updates = await page.chat.look(page.request(), "slow")
        assert "value" not in updates[page.chat.parts.model]


async def test_a_question_is_answered_and_listed() -> None:
    async with opened(relay()) as page:
        await page.send("What is it?")
        assert page.texts()[0] == "What is it?"
        assert page.shown["box"]["value"] is None
        assert page.value("marker") == f'<span data-conversation="{page.id}"></span>'
        await page.follow()
        assert page.texts()[:2] == ["What is it?", "Hello there."]
        assert page.shown["box"]["submit_btn"] is True
        assert page.listed() == ["What is it?"]
        assert page.value("days0") == page.id
        assert "Context: 10 of 8,192 tokens" in page.value("meter")
        assert page.sees("this")
        assert page.value("title") == "What is it?"


async def test_an_answer_grows_row_by_row() -> None:
    words = tuple(f"word{n} " for n in range(8))
    async with opened(relay(parrot=Script(pieces=words, delay=0.06))) as page:
        await page.ask("first")
        await page.send("second")
        seen = []
        async for rows in page.chat.following.watch(page.request(), page.id, page.value("turn")):
            assert [row["content"][0]["text"] for row in rows[:2]] == ["first", "".join(words)]
            seen.append(rows[4]["content"][0]["text"])
        assert len(set(seen)) > 1
        assert seen[-1] == "".join(words)


async def drawn(page: Page, text: str) -> tuple[set[str], set[str]]:
    """What an event that asks draws by name, and what the one after it does."""
    first = await page.chat.send(page.request(), {"text": text}, *page.asked())
    page.take(first)
    later = await page.chat.rest(page.request(), page.id, "", page.value("asked"))
    page.take(later)
    return {names()[part] for part in first}, {names()[part] for part in later}


async def test_a_question_is_drawn_with_its_first_words_before_all_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a browser draws with the first words is what they wait for."""
    monkeypatch.setattr(chats, "AT_ONCE", 10.0)
    hold = asyncio.Event()
    async with opened(relay(parrot=Script(pieces=("so far",), hold=hold))) as page:
        first, later = await drawn(page, "go")
        assert first == {"id", "asked", "marker", "thread", "box", "notice"}
        assert page.texts() == ["go", "so far"]
        assert later >= {"turn", "meter", "title", "this", "days0"}
        assert not later & (first - {"box"})
        assert page.value("turn") == page.value("asked")
        assert page.listed() == ["go"]
        hold.set()
        await page.follow()
        assert page.texts()[2].startswith("<small>parrot")


async def test_an_answer_that_has_not_begun_is_followed_at_once() -> None:
    async with opened(relay(parrot=Script(wait=60))) as page:
        first, _ = await drawn(page, "go")
        assert first == {"id", "asked", "marker", "thread", "box", "notice", "turn"}
        assert page.value("turn") == page.value("asked")


async def test_what_is_asked_is_followed_where_the_store_fails_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise StoreError("disk full")

    monkeypatch.setattr(chats, "AT_ONCE", 10.0)
    async with opened(relay()) as page:
        with monkeypatch.context() as broken:
            broken.setattr(page.context.conversations, "list", fail)
            await page.send("go")
        assert page.value("notice") == "disk full"
        assert page.value("turn") == page.value("asked")


async def test_nothing_is_not_sent() -> None:
    async with opened(relay()) as page:
        for given in ({"text": "  ", "files": []}, None, {}):
            updates = await page.chat.send(page.request(), given, *page.asked())
            assert updates == {page.chat.parts.asked: ""}
            later = await page.chat.rest(page.request(), "", "", "")
            assert later == {page.chat.parts.turn: gr.skip()}


async def test_an_option_that_cannot_be_read_stops_nothing_else() -> None:
    async with opened(relay()) as page:
        page.options[1] = "hot"
        await page.send("hi")
        assert page.value("notice") == "Temperature is 'hot', which is not a number\\."
        assert (page.id, page.texts()) == ("", [])
        assert "value" not in page.shown["box"]
        page.options[1] = "1"
        await page.ask("hi")
        assert not page.sees("notice")
        assert page.texts()[1] == "Hello there."


async def test_a_second_question_waits_for_the_first_answer() -> None:
    async with opened(relay(parrot=Script(wait=60))) as page:
        await page.send("one")
        assert page.texts() == ["one", "<small><em>Waiting for parrot …</em></small>"]
        assert page.shown["box"]["stop_btn"] is True
        await page.send("two")
        assert page.value("notice").replace("\\", "") == BUSY
        assert page.texts()[0] == "one"
        await page.chat.stop(page.request(), page.id)
        await page.follow()
        assert page.texts()[1].startswith("<small>stopped · parrot")
        assert not page.sees("notice")


async def test_another_window_follows_and_stops_the_same_answer() -> None:
    script = Script(pieces=("so ", "far "), delay=0.01, endless=True)
    async with opened(relay(parrot=script)) as page:
        await page.send("go")
        other = Page(page.context, session="other")
        loading = asyncio.ensure_future(other.load(c=page.id))
        await until(lambda: len(other.texts()) > 1, within=10)
        await other.chat.stop(other.request(), page.id)
        await asyncio.gather(loading, page.follow())
        assert page.texts() == other.texts()
        assert page.texts()[-1].startswith("<small>stopped")


async def test_a_reload_in_mid_stream_goes_on() -> None:
    hold = asyncio.Event()
    script = Script(pieces=("first half, ",), hold=hold)
    async with opened(relay(parrot=script)) as page:
        await page.send("go")
        await page.chat.leave(page.request())  # the old page is gone
        again = Page(page.context, session="again")
        loading = asyncio.ensure_future(again.load(c=page.id))
        await until(lambda: "first half, " in again.texts(), within=10)
        assert again.shown["box"]["stop_btn"] is True
        assert not loading.done()
        hold.set()
        await loading
        assert again.shown["box"]["submit_btn"] is True
        assert again.texts()[-1].startswith("<small>parrot")


async def test_an_answer_that_ended_before_the_page_looked_is_shown() -> None:
    hold = asyncio.Event()
    async with opened(relay(parrot=Script(pieces=(), hold=hold))) as page:
        await page.send("hi")
        assert page.texts()[1].startswith("<small><em>Waiting")
        hold.set()
        await until(lambda: page.context.turns.count() == 0, within=5)
        await page.follow()
        assert page.texts()[1].startswith("**⚠ No answer.** The model ended its answer")


async def test_a_failure_offers_to_retry() -> None:
    script = Script(pieces=(), error=UpstreamUnreachable("cannot connect to gpu1:8000"))
    async with opened(relay(parrot=script)) as page:
        await page.ask("hi")
        assert page.texts()[1].startswith("**⚠ No answer.** cannot connect to gpu1:8000")
        assert page.value("thread")[-1]["options"][0]["value"] == "Retry"
        script.error, script.pieces = None, ("Here ", "I am.")
        await page.asking(page.chat.again(page.request(), *page.asked()))
        await page.follow()
        assert page.texts()[:2] == ["hi", "Here I am."]


async def test_an_edit_asks_again() -> None:
    async with opened(relay()) as page:
        await page.ask("one")
        await page.ask("two")
        event = SimpleNamespace(index=0, previous_value="one", value="eins")
        await page.asking(page.chat.edit(page.request(), event, *page.asked()))
        await page.follow()
        assert page.texts()[0] == "eins"
        assert "two" not in page.texts()
        stale = SimpleNamespace(index=0, previous_value="one", value="uno")
        await page.asking(page.chat.edit(page.request(), stale, *page.asked()))
        assert "changed in another window" in page.value("notice")
        assert page.texts()[0] == "eins"


async def test_undo_gives_the_question_back() -> None:
    async with opened(relay()) as page:
        await page.ask("one")
        await page.ask("two")
        page.options[1] = "0.7"
        page.take(await page.chat.undo(page.request(), *page.asked()))
        assert page.options[1] == "0.7"
        assert page.shown["box"]["value"] == {"text": "two", "files": []}
        assert page.texts()[:2] == ["one", "Hello there."]


async def test_images_are_taken_from_uploads_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    (tmp_path / "uploads").mkdir()
    sent, other = tmp_path / "uploads" / "a.png", tmp_path / "b.png"
    for path in (sent, other):
        path.write_bytes(PNG)
    fake = relay()
    fake.put(view("parrot", vision=True), view("slow"))
    async with opened(fake) as page:
        await page.send("see", {"path": str(other)})
        assert "not sent from this page" in page.value("notice")
        await page.send("see", {"path": str(sent)})
        await page.follow()
        assert page.texts()[:2] == ["component", "see"]
        assert not sent.exists()
        assert other.exists()
        page.take(await page.chat.undo(page.request(), *page.asked()))
        assert "images have to be added again" in page.value("notice")
    url = fake.asked[0].params["messages"][0]["content"][0]["image_url"]["url"]
    assert base64.b64decode(url.partition(",")[2]) == PNG


async def test_files_are_offered_to_models_that_may_see() -> None:
    fake = relay()
    fake.put(view("parrot", vision=True), view("slow"), view("new", vision=None))
    async with opened(fake) as page:
        assert page.shown["box"]["sources"] == ["upload"]
        for model, sources in (("slow", []), ("new", ["upload"])):
            page.take(await page.chat.chosen(page.request(), "", model, *page.options))
            assert page.shown["box"]["sources"] == sources
            assert page.value("remembered") == model


async def test_a_chosen_model_is_its_chats() -> None:
    async with opened(relay()) as page:
        await page.ask("one")
        await until(lambda: page.context.turns.count() == 0, within=5)
        page.take(await page.chat.chosen(page.request(), page.id, "slow", *page.options))
        other = Page(page.context, session="other")
        await other.load("parrot", c=page.id)
        assert other.value("model") == "slow"


async def test_options_come_back_with_their_chat() -> None:
    async with opened(relay()) as page:
        page.options[0], page.options[4] = "Be brief.", "7"
        await page.ask("one")
        id = page.id
        page.take(await page.chat.begin(NEW)(page.request(), "", "parrot"))
        assert set(page.options) == {""}
        assert page.texts() == []
        page.take(await page.chat.open(page.request(), id, "", "parrot"))
        assert page.options[:5] == ["Be brief.", "", "", "", "7"]


async def test_a_temporary_chat_goes_with_its_page() -> None:
    async with opened(relay(parrot=Script(wait=60))) as page:
        page.take(await page.chat.begin(NEW_TEMPORARY)(page.request(), "", "parrot"))
        assert page.sees("banner")
        await page.send("secret")
        assert page.value("marker") == '<span data-conversation=""></span>'
        assert page.listed() == []
        await until(lambda: page.context.turns.count() == 1, within=5)
        await page.chat.leave(page.request(session_hash="another page"))
        assert page.context.turns.count() == 1
        await page.chat.leave(page.request())
        assert page.context.turns.count() == 0
        await page.send("more")
        assert page.value("notice").replace("\\", "") == MISSING
    fake: Any = page.context.relay
    assert all(asked.closed for asked in fake.asked)


@pytest.mark.parametrize("id", ["gone", "t-gone", "../../etc/passwd", "\0"])
async def test_an_address_that_leads_nowhere_says_so(id: str) -> None:
    async with opened(relay(), c=id) as page:
        assert page.value("notice").replace("\\", "") == MISSING
        assert (page.id, page.texts()) == ("", [])
        await page.ask("hi")
        assert page.texts()[1] == "Hello there."


async def test_another_ones_chat_is_not_there() -> None:
    async with opened(relay()) as page:
        await page.ask("mine")
        thief = Page(page.context, user="thief", session="thief")
        await thief.load(c=page.id)
        assert thief.value("notice").replace("\\", "") == MISSING
        assert (thief.id, thief.texts(), thief.listed()) == ("", [], [])


async def test_an_answer_that_cannot_be_saved_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    hold = asyncio.Event()
    async with opened(relay(parrot=Script(hold=hold))) as page:
        await page.send("one")

        async def full(*_: Any, **__: Any) -> None:
            await asyncio.sleep(0.05)
            raise StoreError("the disk is full")

        monkeypatch.setattr(page.context.conversations, "save", full)
        hold.set()
        await page.follow()
        assert page.texts()[:2] == ["one", "Hello there."]
        assert "could not be saved: the disk is full." in page.texts()[-1]


async def test_a_store_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(relay()) as page:

        async def create(*_: Any, **__: Any) -> None:
            raise StoreError("the disk is full")

        monkeypatch.setattr(page.context.conversations, "create", create)
        await page.send("hi")
        assert page.value("notice") == "the disk is full"


async def test_a_fault_is_told_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(relay()) as page:
        monkeypatch.setattr(page.context.conversations, "create", None)
        await page.send("hi")
        assert page.value("notice").replace("\\", "") == "The page failed. Its log says why."
        assert "the chat page failed" in caplog.text
