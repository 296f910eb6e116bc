"""The sidebar: lists by day, and what is done to the open conversation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
import pytest

from h2o_relay.store import Summary
from h2o_relay.testing.upstream import until

from .chat_page import Page, opened
from .fakes import FakeRelay, Script, view

pytestmark = [
    pytest.mark.usefixtures("no_stray_tasks"),  # Gradio sets an environment variable
    pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed"),
]
NOON = datetime(2027, 3, 10, 12, tzinfo=UTC).timestamp()
HOUR = 3600.0


def relay(**scripts: Script) -> FakeRelay:
    return FakeRelay(view("parrot"), view("slow"), scripts=scripts)


def summary(id: str, hours_ago: float, title: str = "") -> Summary:
    at = NOON - hours_ago * HOUR
    return Summary(id=id, title=title or id, kind="chat", created=at, updated=at)


async def test_conversations_are_grouped_by_the_readers_day() -> None:
    from h2o_relay_ui.conversations_panel import grouped

    found = [summary(f"{hours}h", hours) for hours in (0, 11, 13, 35, 37, 900)]
    days = grouped(found, NOON, UTC)
    assert {day: [id for _, id in ones] for day, ones in days.items()} == {
        "Today": ["0h", "11h"], "Yesterday": ["13h", "35h"], "Earlier": ["37h", "900h"],
    }  # fmt: skip
    tokyo = grouped(found, NOON, timezone(timedelta(hours=9)))
    assert [id for _, id in tokyo["Today"]] == ["0h", "11h", "13h"]
    assert grouped([summary("future", -30)], NOON, UTC)["Today"][0][1] == "future"
    nameless = Summary(id="x", title="", kind="chat", created=NOON, updated=NOON)
    assert grouped([nameless], NOON, UTC)["Today"] == [("Untitled", "x")]


@pytest.mark.parametrize(
    ("cookies", "offset"),
    [
        ({"h2o_relay_zone": "-540"}, timedelta(hours=9)),
        ({"h2o_relay_zone": "210"}, timedelta(hours=-3.5)),
        ({"h2o_relay_zone": "99999"}, timedelta()),
        ({"h2o_relay_zone": "-1440"}, timedelta()),
    ],
)
async def test_the_browser_says_its_zone(cookies: dict[str, str], offset: timedelta) -> None:
    from h2o_relay_ui.conversations_panel import zone_of

    assert zone_of(cookies).utcoffset(None) == offset


async def test_without_a_word_of_the_browser_it_is_this_machines_zone() -> None:
    from h2o_relay_ui.conversations_panel import zone_of

    here = datetime.now(UTC).astimezone().utcoffset()
    for cookies in ({}, None, {"h2o_relay_zone": "east"}):
        assert zone_of(cookies).utcoffset(None) == here


async def asked(page: Page, *questions: str) -> list[str]:
    """A chat for each of the questions; their ids."""
    ids = []
    for question in questions:
        page.take(await page.chat.begin("")(page.request(), "", "parrot"))
        await page.ask(question)
        ids.append(page.id)
    await until(lambda: page.context.turns.count() == 0, within=5)
    return ids


async def test_the_list_is_searched() -> None:
    async with opened(relay()) as page:
        await asked(page, "about tigers", "about lions")
        assert page.listed() == ["about lions", "about tigers"]
        page.take(await page.panel.find(page.request(), page.id, "TIGER"))
        assert page.listed() == ["about tigers"]
        assert not page.sees("nothing")
        page.take(await page.panel.find(page.request(), page.id, "zebra"))
        assert page.listed() == []
        assert page.value("nothing") == "No chat has these words."
        page.take(await page.panel.find(page.request(), page.id, ""))
        assert len(page.listed()) == 2


async def test_a_chat_is_renamed() -> None:
    async with opened(relay()) as page:
        [id] = await asked(page, "one")
        rename = page.panel.rename
        page.take(await rename(page.request(), "  My\n title ", id, ""))
        assert page.listed() == ["My title"]
        page.take(await rename(page.request(), "   ", id, ""))
        assert page.value("panel_notice") is not None
        assert page.listed() == ["My title"]
        assert (await page.context.conversations.get(page.user, id)).title == "My title"


async def test_deleting_a_chat_ends_its_answer_and_opens_a_new_one() -> None:
    async with opened(relay(parrot=Script(wait=60))) as page:
        await page.send("one")
        id = page.id
        page.take(await page.panel.delete(page.request(), id, "", "parrot"))
        assert page.context.turns.count() == 0
        assert (page.id, page.texts(), page.listed()) == ("", [], [])
        await page.load(c=id)
        assert page.id == ""


@pytest.mark.parametrize("kind", ["md", "json", "jsonl"])
async def test_a_chat_is_exported_and_imported(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    async with opened(relay()) as page:
        [id] = await asked(page, "one & <two>")
        page.take(await page.panel.export(kind)(page.request(), id))
        first = page.value("file_name")
        assert f".{kind}&quot;" not in first
        assert f'data-file="one-two-{datetime.now().astimezone():%Y-%m-%d}.{kind}"' in first
        page.take(await page.panel.export(kind)(page.request(), id))
        assert page.value("file_name") != first  # so that a second click saves again
        file = tmp_path / f"chat.{kind}"
        file.write_text(page.value("file"), encoding="utf-8")
        page.take(await page.panel.load(page.request(), {"path": str(file)}, id, ""))
        assert page.value("panel_notice") == "1 chat imported\\."
        assert page.listed() == ["one & <two>"] * 2
        assert not file.exists()
        [new] = [s.id for s in await page.context.conversations.list(page.user) if s.id != id]
        page.take(await page.chat.open(page.request(), new, "", "parrot"))
        assert page.texts()[:2] == ["one & <two>", "Hello there."]


async def test_a_bad_file_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    (tmp_path / "uploads").mkdir()
    bad, foreign = tmp_path / "uploads" / "a.json", tmp_path / "b.json"
    bad.write_text("{nope", encoding="utf-8")
    foreign.write_text('{"messages": [{"role": "user", "content": "x"}]}', encoding="utf-8")
    async with opened(relay()) as page:
        for file, words in ((bad, "no conversation"), (foreign, "not sent from this page")):
            page.take(await page.panel.load(page.request(), {"path": str(file)}, "", ""))
            assert words in page.value("panel_notice")
        assert page.listed() == []
        assert foreign.exists()


async def test_what_an_import_left_out_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    talks: list[Any] = [
        {"title": f"talk {n}", "messages": [{"role": "user", "content": "x"}, {"role": "tool"}]}
        for n in range(2)
    ]
    file = tmp_path / "chats.json"
    file.write_bytes(orjson.dumps(talks))
    async with opened(relay()) as page:
        page.take(await page.panel.load(page.request(), {"path": str(file)}, "", ""))
        assert page.value("panel_notice").replace("\\", "") == (
            "2 chats imported. 2 messages that this page has no place for were left out."
        )
        assert page.listed() == ["talk 0", "talk 1"]


async def test_another_ones_chat_is_neither_exported_nor_changed() -> None:
    async with opened(relay()) as page:
        [id] = await asked(page, "mine")
        thief = Page(page.context, user="thief", session="thief")
        await thief.load()
        thief.take(await thief.panel.export("json")(thief.request(), id))
        thief.take(await thief.panel.rename(thief.request(), "stolen", id, ""))
        thief.take(await thief.panel.delete(thief.request(), id, "", "parrot"))
        assert thief.value("file") is None
        chat = await page.context.conversations.get(page.user, id)
        assert (chat.title, len(chat.messages)) == ("mine", 2)
