"""The models tab's events, called as Gradio calls them, over a relay in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

from h2o_relay.admin import Found, FoundModel, Tried
from h2o_relay.errors import Forbidden, StoreError, UpstreamUnreachable
from h2o_relay.testing.settings import quick
from h2o_relay_ui.context import User
from h2o_relay_ui.live import close

from .fakes import FakeRelay, pool, view
from .models_page import FIELDS, REQUEST, Page, opened

pytestmark = [
    pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed"),
    pytest.mark.timeout(120),  # Gradio's import
]
ENTRY = {"base_model": "my/model", "inference_server": "vllm_chat:gpu2:8000",
         "max_seq_len": 12345, "h2ogpt_key": "sk-canary"}  # fmt: skip


async def picked(page: Page, number: int) -> None:
    event: Any = SimpleNamespace(target=SimpleNamespace(elem_id=f"models-pick-{number}"))
    await page.render()
    page.take(await page.tab.pick(page.state, event))
    await page.render()


async def soon(true: Callable[[], Awaitable[Any]]) -> None:
    """Ask until the answer is yes."""
    async with asyncio.timeout(30):
        while not await true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_rows_are_shown_and_only_what_changed_is_sent_again() -> None:
    relay = FakeRelay(view("a"), view("b", state="offline", reason="refused"))
    page = opened(relay)
    await page.render()
    assert "2 models, 1 can answer" in page.value("summary")
    assert "refused" in page.value("list")
    assert page.value("pick-1") == "Select b"
    assert not page.visible("pick-2")
    again = await page.tab.render(None, 0, "", page.state, REQUEST)
    assert list(again) == [page.tab._shown]
    relay.set("a", running=2)

    async def told() -> bool:  # the subscription brings it
        await page.render()
        return "2 requests running" in page.value("summary")

    await soon(told)
    await close(page.context)


async def test_the_beat_tells_what_moves_from_what_stays() -> None:
    relay = FakeRelay(view("a"))
    page = opened(relay)
    await page.render()

    async def beat() -> tuple[str, str]:
        told: tuple[str, str] = await page.tab.beat(None, 0, "", REQUEST)
        return told

    async def news(before: tuple[str, str]) -> bool:
        return await beat() != before

    first = await beat()
    assert await beat() == first
    relay.set("a", running=1)
    await soon(lambda: news(first))
    second = await beat()
    assert (second[0] != first[0], second[1]) == (True, first[1])
    page.take(await page.tab.move(None, 0, "", page.state, REQUEST))
    assert "1 request running" in page.value("summary")
    relay.put(view("a", id="other", running=1))  # it looks the same, and is another
    await soon(lambda: news(second))
    assert (await beat())[1] != second[1]
    moved = await page.tab.move(None, 0, "", page.state, REQUEST)
    assert list(moved) == [page.tab._shown]  # all of it is to be shown anew
    await close(page.context)


async def test_a_row_that_is_selected_has_its_panel() -> None:
    page = opened(FakeRelay(view("a"), view("b", added=True, loadable=True, visible=False)))
    await picked(page, 1)
    assert page.chosen == ("id-b", "b")
    assert page.visible("panel")
    assert all(page.visible(name) for name in ("load", "unload", "hide", "edit", "remove"))
    assert page.value("hide") == "Show"
    await picked(page, 0)
    assert not any(page.visible(name) for name in ("load", "unload", "edit", "remove"))
    page.take(await page.tab.close())
    await page.render()
    assert not page.visible("panel")
    await picked(page, 7)  # a row that is no more
    assert page.chosen is None
    await close(page.context)


async def test_a_pool_is_shown_and_tested_and_neither_changed_nor_removed() -> None:
    relay = FakeRelay(view("a"), view("b", state="offline", reason="refused"), pool("ab", "a", "b"))
    page = opened(relay)
    await picked(page, 2)
    assert page.chosen == ("pool-ab", "ab")
    assert "a (healthy), b (offline)" in page.value("details")
    assert not any(page.visible(name) for name in ("load", "unload", "hide", "edit", "remove"))
    assert "1 pool" in page.value("summary")
    key = ("pool-ab", "ab")
    assert "configuration" in await page.tab.hide(key, REQUEST)
    assert "configuration" in (await page.all(page.tab.loader(True)(key, REQUEST)))[-1]
    for event in (page.tab.ask(key), page.tab.remove(key, REQUEST)):
        page.take(await event)
        assert not page.visible("confirm")
        assert "configuration" in page.value("message")
        page.take(page.tab.silence())
    assert "ab answered" in (await page.all(page.tab.test(key)))[-1]
    assert relay.calls == [("try_out", "ab")]
    await close(page.context)


async def test_a_test_is_told_before_and_after() -> None:
    relay = FakeRelay(view("a"))
    page = opened(relay)
    told = await page.all(page.tab.test(("id-a", "a")))
    assert "Asking a for one token" in told[0]
    assert "a answered in 0.21 s: “Hello”" in told[1]
    relay.tried["a"] = Tried(ok=False, seconds=3.0, text="no <b>route</b>")
    assert (
        "failed after 3.00 s: no &lt;b&gt;route"
        in (await page.all(page.tab.test(["id-a", "a"])))[-1]
    )
    relay.tried["a"] = UpstreamUnreachable("the relay is away")
    assert "the relay is away" in (await page.all(page.tab.test(("id-a", "a"))))[-1]
    assert "not there any more" in (await page.all(page.tab.test(("gone", "x"))))[-1]
    await close(page.context)


async def test_loading_hiding_and_removing_reach_the_relay() -> None:
    relay = FakeRelay(view("a", id="1", loadable=True))
    relay.entries["1"] = {"base_model": "a"}
    page = opened(relay)
    assert "a is loaded" in (await page.all(page.tab.loader(True)(("1", "a"), REQUEST)))[-1]
    assert "unloaded" in (await page.all(page.tab.loader(False)(("1", "a"), REQUEST)))[-1]
    await page.tab.hide(("1", "a"), REQUEST)
    page.take(await page.tab.ask(("1", "a")))
    assert page.visible("confirm")
    assert "Remove a?" in page.value("question")
    page.take(await page.tab.remove(("1", "a"), REQUEST))
    assert page.chosen is None
    assert not page.visible("confirm")
    assert relay.calls == [
        ("set_loaded", ("a", True)), ("set_loaded", ("a", False)),
        ("change", ("1", {"visible": False})), ("remove", "1"),
    ]  # fmt: skip
    await close(page.context)


async def test_what_the_relay_refuses_is_said() -> None:
    relay = FakeRelay(view("a", loadable=True))
    no = Forbidden("This model was given at the start.")
    relay.failing = {"remove": no, "change": no, "set_loaded": no}
    page = opened(relay)
    key = ("id-a", "a")
    assert no.message in await page.tab.hide(key, REQUEST)
    assert no.message in (await page.all(page.tab.loader(True)(key, REQUEST)))[-1]
    page.take(await page.tab.remove(key, REQUEST))
    assert no.message in page.value("message")
    await close(page.context)


async def test_a_look_shows_what_is_there_and_adds_nothing() -> None:
    relay = FakeRelay()
    relay.found["vllm_chat:gpu2:8000"] = Found(
        server="vllm_chat:gpu2:8000", plugin="vllm", url="http://gpu2:8000", kinds=("chat",),
        models=(FoundModel(id="my/model", max_context=4096, kinds=None),), problem="",
    )  # fmt: skip
    page = opened(relay)
    page.take(await page.form.open())
    assert page.visible("form")
    await page.press(save=False)
    assert "my/model · 4,096 tokens" in page.value("found")
    assert page.value("add") == "Add"
    assert relay.calls == [("identify", ENTRY)]


async def test_adding_looks_first_and_keeps_the_context_length_as_typed() -> None:
    relay = FakeRelay()
    page = opened(relay)
    page.take(await page.form.open())
    await page.press()
    assert relay.calls == [("identify", ENTRY), ("add", ENTRY)]
    assert not page.visible("form")
    assert page.chosen == ("added-0", "my/model")
    assert "It is added." in page.value("message")
    await page.render()
    assert "12,345" in page.value("list")
    assert "sk-canary" not in repr(page.shown["list"])
    await close(page.context)


async def test_a_server_that_does_not_answer_is_added_by_a_second_press() -> None:
    relay = FakeRelay()
    relay.found["vllm_chat:gpu2:8000"] = Found(
        server="vllm_chat:gpu2:8000", plugin="vllm", url=None, kinds=(), models=(),
        problem="connection refused",
    )  # fmt: skip
    page = opened(relay)
    await page.press()
    assert "connection refused" in page.value("found")
    assert page.value("add") == "Add anyway"
    assert [name for name, _ in relay.calls] == ["identify"]
    other = ("other", *FIELDS[1:])
    await page.press(*other)  # something else is looked at again
    assert [name for name, _ in relay.calls] == ["identify", "identify"]
    await page.press(*other)
    assert relay.calls[-1][0] == "add"
    assert relay.calls[-1][1]["base_model"] == "other"


async def test_what_cannot_be_read_or_saved_is_said_and_not_added() -> None:
    relay = FakeRelay()
    relay.found["nonsense:"] = Forbidden("server string 'nonsense:': there is no such backend")
    page = opened(relay)
    for given, words in (
        (("", "", "", "", "", ""), "Say which server"),
        (("m", "vllm:x", "", "many", "", ""), "not a number of tokens"),
        (("m", "nonsense:", "", "", "", ""), "there is no such backend"),
    ):
        await page.press(*given)
        assert words in page.value("found")
    relay.failing["add"] = StoreError("the database is read-only")
    await page.press()
    assert "the database is read-only" in page.value("found")
    assert relay.entries == {}
    assert page.chosen is None


async def test_an_edit_shows_what_was_written_and_changes_only_that() -> None:
    relay = FakeRelay(view("a", id="1", added=True))
    relay.entries["1"] = {"base_model": "a", "inference_server": "vllm:x:1", "h2ogpt_key": "sk",
                          "prompt_type": "custom"}  # fmt: skip
    page = opened(relay)
    page.take(await page.form.edit(("1", "a"), REQUEST))
    values = [page.value(f"field-{n}") for n in range(6)]
    assert values == ["a", "vllm:x:1", "custom", "", "***", ""]
    assert ("custom", "custom") in page.shown["field-2"]["choices"]
    assert (page.value("add"), page.shown["editing"]) == ("Save", "1")
    await page.press(*values, save=False)
    assert "only once this is saved" in page.value("found")
    values[3] = "777"
    await page.press(*values)
    assert relay.calls[-1] == ("change", ("1", {
        "base_model": "a", "inference_server": "vllm:x:1", "prompt_type": "custom",
        "max_seq_len": 777, "h2ogpt_key": "***", "display_name": None,
    }))  # fmt: skip
    assert [name for name, _ in relay.calls] == ["entry", "change"]
    assert not page.visible("form")
    assert "It is changed." in page.value("message")
    relay.failing["entry"] = Forbidden("not this one")
    page.take(await page.form.edit(("1", "a"), REQUEST))
    assert "not this one" in page.value("message")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"may_add": False, "settings": quick(model_lock="[]")}, "those of --model_lock"),
        ({"may_add": False, "settings": quick(host="0.0.0.0")}, "beyond this machine"),
        ({"may_add": False, "settings": quick(add_models=False)}, "switched off"),
        ({"user": lambda _: User("guest-1", "guest1", guest=True)}, "Guests cannot"),
    ],
)
async def test_who_may_not_add_sees_why_and_cannot(changes: Any, words: str) -> None:
    relay = FakeRelay(view("a", id="1", added=True, loadable=True))
    relay.entries["1"] = {"base_model": "a"}
    page = opened(relay, **changes)
    await picked(page, 0)
    assert words in page.value("note")
    for name in ("open", "load", "unload", "hide", "edit", "remove"):
        assert not page.visible(name)
    key = ("1", "a")
    assert words in await page.tab.hide(key, REQUEST)
    assert words in (await page.all(page.tab.loader(True)(key, REQUEST)))[-1]
    page.take(await page.tab.remove(key, REQUEST))
    assert words in page.value("message")
    page.take(await page.form.edit(key, REQUEST))
    assert not page.visible("form")
    for save in (True, False):
        await page.press(save=save)
        assert words in page.value("found")
    assert relay.calls == []
    assert "answered" in (await page.all(page.tab.test(key)))[-1]  # looking is for all
    await close(page.context)


async def test_a_relay_that_is_away_is_said_above_what_was_known() -> None:
    relay = FakeRelay(view("a"))
    page = opened(relay)
    await page.render()
    relay.failing["changes"] = UpstreamUnreachable("the API does not answer")
    relay.put()

    async def told() -> bool:
        await page.render()
        return "the API does not answer" in page.value("note")

    await soon(told)
    assert "a" in page.value("list")
    await close(page.context)
