"""The Compare tab's events, as a page calls them."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from h2o_relay.errors import StoreError, UpstreamUnreachable
from h2o_relay.store import Vote
from h2o_relay.testing.upstream import until
from h2o_relay_ui.compare_kept import Kept
from h2o_relay_ui.rounds import NONE, SKIPPED, TIE

from .compare_kit import ME, WITHIN, Page, bench, built, opened
from .fakes import Script

pytestmark = [
    pytest.mark.usefixtures("no_stray_tasks"),
    pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed"),
    pytest.mark.timeout(120),  # Gradio's import
]


async def test_a_new_page_has_two_models_to_compare() -> None:
    async with bench("a", "b", "c"):
        page = opened()
        await page.load()
        assert page.visible == 2
        assert [page.model(at) for at in (0, 1)] == ["a", "b"]
        assert page.place["id"] == ""
        assert page.started == 0
        box = page.desk.parts.columns.models[0]
        assert [name for _, name in page.values[box]["choices"]] == ["a", "b", "c"]


async def test_a_question_goes_to_all_columns_and_the_page_follows() -> None:
    hold = asyncio.Event()
    scripts = {"a": Script(pieces=("I am a.",), wait=0.01, hold=hold)}
    async with bench("a", "b", "c", scripts=scripts) as one:
        page = opened()
        await page.load()
        await page.do(page.desk.add, page.place)
        await page.send("Who are you?", temperature="0.5")
        assert page.values[page.desk.parts.box] == ""
        assert page.started == 1
        assert "at-running" in page.marks(0)
        hold.set()
        await page.follow()
        assert [page.thread(at).split("\n")[-1] for at in range(3)] == [
            "I am a.", "I am b.", "I am c."
        ]  # fmt: skip
        assert "first token" in page.foot(2)
        assert [a.params["temperature"] for a in one.relay.asked] == [0.5] * 3
        [summary] = await one.context.conversations.list(ME)
        assert (summary.kind, page.place["id"]) == ("compare", summary.id)


async def test_who_sends_at_once_is_asked_for_what_the_page_shows() -> None:
    """A switch that was set and a model that was chosen a moment ago, whose events run yet."""
    async with bench("a", "b", "c") as one:
        page = opened()
        await page.load()
        parts = page.desk.parts
        await page.send("hi", {parts.blind: True, parts.columns.models[1]: "c"})
        await page.follow()
        assert "Which answer is better?" in page.notice
        assert sorted(a.params["model"] for a in one.relay.asked) == ["a", "c"]
        assert page.values[parts.blind] is True
        await page.do(page.desk.ballot(TIE), page.place)
        assert sorted([page.model(0), page.model(1)]) == ["a", "c"]


async def test_what_streams_is_plain_values_for_all_columns_at_once() -> None:
    """An update, `gr.skip` included, would have Gradio rebuild every Chatbot."""
    async with bench("a", "b", scripts={"a": Script(wait=0.05)}):
        page = opened()
        await page.load()
        await page.send("hi")
        lengths = set()
        async for values in page.desk.watch(page.request):
            lengths.add(len(values))
            assert not any(isinstance(value, dict) for value in values)
        assert lengths == {len(page.desk.parts.columns.live)}


def test_one_event_of_the_tab_is_queued_and_it_has_no_limit() -> None:
    queued = [e for e in built()[2].fns.values() if e.queue and e.fn is not None]
    streams = [event for event in queued if event.types_generator]
    assert len(streams) == 2  # Compare's and the grid's
    assert [event.concurrency_limit for event in streams] == [None, None]
    assert {event.api_visibility for event in built()[2].fns.values()} == {"private"}


def test_every_control_can_be_found() -> None:
    blocks = built()[2].blocks.values()
    ids = [block.elem_id for block in blocks if getattr(block, "elem_id", None)]
    assert len(ids) == len(set(ids))
    parts = ("col", "name", "stop", "retry", "thread", "foot", "marks")
    more = ("model", "remove", "choose", "vote")
    for at in (0, 15):
        assert {f"compare-{part}-{at}" for part in (*parts, *more)} <= set(ids)
        assert {f"grid-{part}-{at}" for part in parts} <= set(ids)
    assert {"compare-box", "compare-stop", "compare-add", "compare-fresh", "compare-shared",
            "compare-blind", "compare-leaderboard", "compare-export-md", "compare-export-json",
            "compare-vote-tie", "compare-vote-none", "compare-vote-skip", "compare-notice",
            "grid-box", "grid-stop", "grid-fresh", "compare-option-temperature",
            "grid-option-system"} <= set(ids)  # fmt: skip


async def test_a_reload_shows_all_and_goes_on_following() -> None:
    hold = asyncio.Event()
    script = Script(pieces=("so far",), hold=hold)
    async with bench("a", "b", scripts={"b": script}) as one:
        page = opened()
        await page.load()
        await page.send("go", system="Be brief.")
        [turn] = [t for t in turns(one, page) if t.slot == "1"]
        await until(lambda: turn.version, within=WITHIN)
        again = opened(session="another", place=page.place)
        await again.load()
        assert "so far" in again.thread(1)
        assert "at-running" in again.marks(1)
        assert again.values[again.desk.parts.fields[0]] == "Be brief."
        assert again.started == 1
        hold.set()
        await again.follow()
        assert "at-running" not in again.marks(1)
        await again.load()
        assert again.started == 1


async def test_a_page_without_its_comparison_begins_anew() -> None:
    async with bench("a", "b") as one:
        page = opened()
        await page.load()
        await page.send("go")
        await page.follow()
        await one.context.conversations.delete(ME, page.place["id"])
        await page.load()
        assert page.place["id"] == ""
        assert page.visible == 2
        assert page.desk.parts.columns.threads[0] in page.values
        assert page.thread(0) == ""
        other = opened(who="another", place={"id": "nonsense", "setup": {"columns": "?"}})
        await other.load()
        assert other.visible == 2


async def test_another_users_comparison_is_not_shown() -> None:
    async with bench("a", "b"):
        page = opened()
        await page.load()
        await page.send("secret")
        await page.follow()
        other = opened(who="another", session="another", place=page.place)
        await other.load()
        assert other.place["id"] == ""
        assert "secret" not in str(other.values)
        await other.do(other.desk.open, other.place, page.place["id"])
        assert "secret" not in str(other.values)
        assert other.notice


async def test_another_comparison_is_opened() -> None:
    async with bench("a", "b"):
        page = opened()
        await page.load()
        await page.send("first")
        await page.follow()
        first = page.place["id"]
        await page.do(page.desk.fresh, page.place)
        assert (page.place["id"], page.thread(0)) == ("", "")
        await page.send("second")
        await page.follow()
        await page.do(page.desk.open, page.place, first)
        assert page.thread(0).startswith("first")
        assert page.place["id"] == first
        await page.do(page.desk.open, page.place, "gone")
        assert "There is no such conversation" in page.notice
        assert page.place["id"] == first


async def test_columns_are_added_swapped_and_removed_in_mid_thread() -> None:
    async with bench("a", "b", "c") as one:
        page = opened()
        await page.load()
        await page.send("first")
        await page.follow()
        models = page.desk.parts.columns.models
        await page.press(page.desk.swap, models, 0, "c", "b", *[None] * 14)
        assert page.model(0) == "c"
        assert page.thread(0) == "first\nI am a."
        await page.do(page.desk.add, page.place)
        assert page.model(2) == "a"
        await page.press(page.desk.remove, page.desk.parts.columns.removes, 1)
        assert [page.model(at) for at in (0, 1)] == ["c", "a"]
        assert page.visible == 2
        await page.send("second")
        await page.follow()
        assert [a.params["model"] for a in one.relay.asked[2:]] == ["c", "a"]
        await page.press(page.desk.remove, page.desk.parts.columns.removes, 0)
        await page.press(page.desk.remove, page.desk.parts.columns.removes, 0)
        assert page.visible == 1


async def test_a_column_is_offered_the_models_of_now() -> None:
    async with bench("a", "b", "c") as one:
        page = opened()
        await page.load()
        one.relay.put(*one.relay.views[1:])
        one.relay.set("c", state="offline")
        models = page.desk.parts.columns.models
        pressed: Any = SimpleNamespace(target=models[0])
        first, *others = await page.desk.look(page.request, pressed, "a", "b", *[None] * 14)
        assert first["choices"] == [
            ("b", "b"), ("c (offline)", "c"), ("a (not there any more)", "a")
        ]  # fmt: skip
        assert "value" not in first
        assert not any("choices" in other for other in others)


async def test_models_that_the_key_is_not_for_are_not_offered() -> None:
    async with bench("a", "b", "c", "d", models_of=lambda owner: ("c", "d")) as one:
        page = opened()
        await page.load()
        columns = page.desk.parts.columns.models
        assert [page.values[each]["value"] for each in columns[:2]] == ["c", "d"]
        assert page.values[columns[0]]["choices"] == [("c", "c"), ("d", "d")]
        await page.do(page.desk.add, page.place)
        assert page.values[columns[2]]["value"] in ("c", "d")
        assert one.relay.asked == []


async def test_there_is_room_for_sixteen_columns() -> None:
    async with bench("a", "b"):
        page = opened()
        await page.load()
        for _ in range(16):
            await page.do(page.desk.add, page.place)
        assert page.visible == 16
        await page.send("all of you")
        await page.follow()
        assert {page.thread(at).split("\n")[-1] for at in range(16)} == {"I am a.", "I am b."}


async def test_a_dead_model_says_so_and_is_asked_again() -> None:
    dead = Script(pieces=(), error=UpstreamUnreachable("no connection to gpu9"))
    async with bench("dead", "b", scripts={"dead": dead}) as one:
        page = opened()
        await page.load()
        await page.send("hi")
        await page.follow()
        assert "no connection to gpu9" in page.thread(0)
        assert "I am b." in page.thread(1)
        one.relay.scripts["dead"] = Script(pieces=("alive",))
        columns = page.desk.parts.columns
        await page.press(page.desk.retry_in_thread, columns.threads, 0)
        await page.follow()
        assert page.thread(0) == "hi\nalive"
        await page.press(page.desk.retry, columns.retries, 0)
        await page.follow()
        assert [a.params["model"] for a in one.relay.asked] == ["dead", "b", "dead", "dead"]


async def test_one_and_all_are_stopped() -> None:
    endless = Script(endless=True, delay=0.002)
    async with bench("a", "b", scripts={"a": endless, "b": endless}) as one:
        page = opened()
        await page.load()
        await page.send("go on")
        await until(lambda: all(t.version for t in turns(one, page)), within=WITHIN)
        stops = page.desk.parts.columns.stops
        pressed: Any = SimpleNamespace(target=stops[1])
        await page.desk.stop(page.request, pressed, page.place)
        await until(lambda: one.relay.asked[1].closed, within=WITHIN)
        assert not one.relay.asked[0].closed
        await page.desk.stop_all(page.request, page.place)
        await page.follow()
        assert one.relay.asked[0].closed
        assert "stopped" in page.foot(0)


async def blind() -> Page:
    """A page that has asked blindly, and was answered."""
    page = opened()
    await page.load()
    await page.do(page.desk.switch, page.place, False, True)
    await page.send("Who?")
    await page.follow()
    return page


async def test_a_blind_round_is_shuffled_hidden_voted_on_and_told() -> None:
    async with bench("a", "b") as one:
        page = await blind()
        assert [page.model(at) for at in (0, 1)] == [None, None]
        assert "Which answer is better?" in page.notice
        assert "I am" in page.thread(1)
        winner = page.thread(1)[-2]
        await page.press(page.desk.vote, page.desk.parts.columns.votes, 1)
        assert page.model(1) == winner
        assert "Your vote" in page.foot(1)
        await page.press(page.desk.vote, page.desk.parts.columns.votes, 0)
        [vote] = await one.context.votes.all()
        assert vote.winner == winner


@pytest.mark.parametrize(("outcome", "winners"), [(TIE, [""]), (NONE, [None]), (SKIPPED, [])])
async def test_a_blind_round_ends_without_a_winner(outcome: str, winners: list[str | None]) -> None:
    async with bench("a", "b") as one:
        page = await blind()
        await page.do(page.desk.ballot(outcome), page.place)
        assert "This is who answered." in page.notice
        assert [vote.winner for vote in await one.context.votes.all()] == winners


async def test_nothing_is_changed_that_would_tell_the_names() -> None:
    async with bench("a", "b", "c"):
        page = await blind()
        columns = page.desk.parts.columns
        await page.do(page.desk.add, page.place)
        await page.press(page.desk.remove, columns.removes, 0)
        await page.press(page.desk.swap, columns.models, 0, "c", *[None] * 15)
        assert page.visible == 2
        assert "at-hidden" in page.marks(0)
        for kind in ("md", "json"):
            *_, told = await page.desk.export(kind)(page.request, page.place)
            assert "Vote first" in told


async def test_a_shared_history_goes_on_with_the_chosen_answer() -> None:
    async with bench("a", "b") as one:
        page = opened()
        await page.load()
        await page.do(page.desk.switch, page.place, True, False)
        await page.send("first")
        await page.follow()
        await page.press(page.desk.choose, page.desk.parts.columns.chooses, 1)
        assert "goes on with this answer" in page.foot(1)
        await page.send("second")
        await page.follow()
        told = [[m["content"] for m in a.params["messages"]] for a in one.relay.asked[2:]]
        assert told == [["first", "I am b.", "second"]] * 2


async def test_what_cannot_be_asked_is_said_and_stays_in_the_box() -> None:
    async with bench("a", "b") as one:
        page = opened()
        await page.load()
        await page.send("hi", temperature="hot")
        assert page.values[page.desk.parts.box] == "hi"
        assert "Temperature is" in page.notice
        await page.send("   ")
        await page.send("")
    assert one.relay.asked == []


async def test_a_relay_without_models_says_why() -> None:
    async with bench("a") as one:
        one.relay.put()
        page = opened()
        await page.load()
        assert page.visible == 0
        assert "no model yet" in page.notice
        await page.send("hi")
        assert "Add a column first." in page.notice


async def test_a_store_that_fails_is_said_and_takes_nothing_away() -> None:
    async with bench("a", "b") as one:
        page = opened()
        await page.load()
        await page.send("hi")
        await page.follow()
        before = dict(page.values)

        async def fails(*_: object) -> Any:
            raise StoreError("the disk is full")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(one.context.conversations), "get", fails)
            await page.load()
            assert "the disk is full" in page.notice
        assert {k: v for k, v in page.values.items() if k is not page.desk.parts.notice} == {
            k: v for k, v in before.items() if k is not page.desk.parts.notice
        }


async def test_the_leaderboard_shows_the_votes_with_harmless_names() -> None:
    async with bench("a", "b") as one:
        page = opened()
        _, told = await page.desk.board()
        assert "Nobody has voted yet" in told
        for winner in ["<b>x</b>"] * 9 + ["y"]:
            await one.context.votes.add(ME, Vote(("<b>x</b>", "y"), winner, "q", None, 1.0))
        await one.context.votes.add(ME, Vote(("<b>x</b>", "z"), "", "q", None, 1.0))
        panel, told = await page.desk.board()
        assert panel["visible"] is True
        assert "<b>" not in told
        rows = told.split("<tr>")[2:]
        assert [row.count("only</span>") for row in rows] == [0, 1, 0]
        assert "&lt;b&gt;x&lt;/b&gt;" in rows[0]
        assert ">86%<" in rows[0]
        assert (await page.desk.close())["visible"] is False


async def test_a_comparison_is_exported() -> None:
    dead = Script(pieces=(), error=UpstreamUnreachable("no connection to gpu9"))
    thinks = Script(reasoning=("hm",), pieces=("b's answer",))
    async with bench("dead", "b", scripts={"dead": dead, "b": thinks}):
        page = opened()
        await page.load()
        *_, notice = await page.desk.export("md")(page.request, page.place)
        assert "nothing to export" in notice
        await page.send("What about **salt**?")
        await page.follow()
        text, mark, notice = await page.desk.export("md")(page.request, page.place)
        assert notice == ""
        assert 'data-file="What-about-salt-' in mark
        assert text.startswith("# What about **salt**?\n\n## Question 1\n\nWhat about **salt**?\n")
        assert "### dead\n\n**No whole answer:** no connection to gpu9" in text
        assert "### b\n\n**Reasoning**\n\nhm\n\n**Answer**\n\nb's answer\n" in text
        text, again, _ = await page.desk.export("json")(page.request, page.place)
        assert again != mark
        whole = orjson.loads(text)
        assert whole["kind"] == "compare"
        assert [m.get("slot") for m in whole["messages"]] == [None, "0", "1"]
        assert ME not in text


async def test_the_votes_are_exported() -> None:
    async with bench("a", "b"):
        page = opened()
        await page.load()
        await page.do(page.desk.switch, page.place, False, True)
        for outcome, words in ((TIE, "a tie"), (NONE, "none is good")):
            await page.send("Who?")
            await page.follow()
            await page.do(page.desk.ballot(outcome), page.place)
            text, *_ = await page.desk.export("md")(page.request, page.place)
            assert f"**Vote:** {words}" in text


def turns(one: Any, page: Any) -> list[Any]:
    return list(one.context.turns.running(ME, page.place["id"]).values())


async def test_earlier_comparisons_are_listed_opened_and_deleted() -> None:
    async with bench("a", "b", scripts={"b": Script(wait=600)}) as one:
        page = opened()
        kept = Kept(page.desk, None)  # type: ignore[arg-type]
        await page.load()
        for text in ("first", "second"):
            await page.do(page.desk.fresh, page.place)
            await page.send(text)
        await one.context.conversations.create(ME, kind="chat", title="a chat")
        await one.context.conversations.create("another", kind="compare", title="another's")
        listed = (await kept.listed(page.request))["choices"]
        assert [title for title, _ in listed][:1] == ["Earlier"]
        assert sorted(title for title, _ in listed[1:]) == ["first", "second"]
        reset, *told = await kept.open(page.request, page.place, dict(listed)["first"])
        page.take(page.desk.screen, told)
        assert reset["value"] == ""
        assert page.thread(0).startswith("first")
        asked = one.relay.asked
        assert (await kept.ask())["visible"] is True
        assert (await kept.hide())["visible"] is False
        hidden, *told = await kept.delete(page.request, page.place)
        page.take(page.desk.screen, told)
        assert hidden["visible"] is False
        assert (page.place["id"], page.thread(0), page.visible) == ("", "", 2)
        await until(lambda: asked[1].closed, within=WITHIN)
        assert not asked[3].closed
        assert [title for title, _ in (await kept.listed(page.request))["choices"]] == [
            "Earlier", "second"
        ]  # fmt: skip
        _, *told = await kept.delete(page.request, page.place)  # there is nothing to delete
        page.take(page.desk.screen, told)
        assert page.visible == 2
        assert len(await one.context.conversations.list(ME)) == 2
