"""A page follows all its columns with one generator."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from h2o_relay.errors import StoreError
from h2o_relay.testing.upstream import until
from h2o_relay_ui import compare_watch
from h2o_relay_ui.compare_watch import Watching
from h2o_relay_ui.comparison import Comparison, Setup

from .compare_kit import ME, WITHIN, Bench, bench, words
from .fakes import Script

pytestmark = pytest.mark.usefixtures("leaves_nothing")
PAIR = Setup().added("a", "b")


class Follower:
    """What a page has seen, as it comes."""

    def __init__(self, one: Bench, watching: Watching, found: Comparison) -> None:
        self.seen: list[list[str]] = []
        self.marks: list[list[str]] = []
        self.feet: list[list[str]] = []
        watching.show("s", found)
        self.task = asyncio.create_task(self._follow(one, watching))

    async def _follow(self, one: Bench, watching: Watching) -> None:
        async with aclosing(watching.watch(one.comparisons, ME, "s")) as following:
            async for faces in following:
                self.seen.append([words(face) for face in faces])
                self.marks.append([face.marks for face in faces])
                self.feet.append([face.foot for face in faces])

    async def end(self) -> None:
        async with asyncio.timeout(WITHIN):
            await self.task


@contextlib.asynccontextmanager
async def followed() -> AsyncIterator[tuple[Bench, Watching, Follower]]:
    """A page that looks at a comparison whose first column does not answer."""
    async with bench("a", "b", scripts={"a": Script(wait=600)}) as one:
        await one.begin("first", PAIR)
        watching = Watching()
        follower = Follower(one, watching, await one.get())
        await until(lambda: follower.seen, within=WITHIN)
        yield one, watching, follower


async def test_columns_grow_side_by_side_to_their_ends() -> None:
    hold = asyncio.Event()
    slow = Script(pieces=[f"{n} " for n in range(30)], delay=0.01, hold=hold)
    async with bench("a", "b", scripts={"a": slow}) as one:
        await one.begin("go", PAIR)
        follower = Follower(one, Watching(), await one.get())
        await until(lambda: any(seen[0].endswith(" 29 ") for seen in follower.seen), within=WITHIN)
        hold.set()
        await follower.end()
    assert follower.seen[-1] == ["go\n" + "".join(slow.pieces), "go\nI am b."]
    assert ["at-running" in mark for mark in follower.marks[-1]] == [False, False]
    grown = [seen[0] for seen in follower.seen if "Waiting" not in seen[0]]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(grown))


async def test_an_answer_that_cannot_be_saved_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    hold = asyncio.Event()
    async with bench("a", "b", scripts={"a": Script(hold=hold)}) as one:
        await one.begin("go", PAIR)

        async def full(*_: Any, **__: Any) -> None:
            await asyncio.sleep(0.05)
            raise StoreError("the disk is full")

        monkeypatch.setattr(one.context.conversations, "save", full)
        follower = Follower(one, Watching(), await one.get())
        hold.set()
        await follower.end()
    assert "could not be saved: the disk is full." in follower.feet[-1][0]


async def test_a_column_that_does_not_grow_is_not_drawn_again() -> None:
    endless = Script(endless=True, delay=0.01)
    drawn: list[str] = []
    whole = compare_watch.face

    def counted(comparison: Comparison, column: object, position: int) -> object:
        drawn.append(column.slot)  # type: ignore[attr-defined]
        return whole(comparison, column, position)  # type: ignore[arg-type]

    async with bench("a", "b", scripts={"a": endless, "b": Script(wait=600)}) as one:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compare_watch, "face", counted)
            await one.begin("go", PAIR)
            follower = Follower(one, Watching(), await one.get())
            await until(lambda: drawn.count("0") > 5, within=WITHIN)
            one.comparisons.stop(ME, one.id)
            await follower.end()
    assert drawn.count("1") == 0  # but for the first time and the last, when all are


async def test_it_follows_what_is_done_meanwhile() -> None:
    hold = asyncio.Event()
    async with bench("a", "b", scripts={"a": Script(hold=hold)}) as one:
        await one.begin("first", PAIR)
        follower = Follower(one, Watching(), await one.get())
        await until(lambda: any("I am b." in seen[1] for seen in follower.seen), within=WITHIN)
        one.relay.scripts["b"] = Script(pieces=("once more",))
        await one.comparisons.retry(ME, one.id, "1")
        await until(lambda: "once more" in follower.seen[-1][1], within=WITHIN)
        one.relay.scripts["a"] = Script(pieces=("new",))
        await one.comparisons.ask(ME, one.id, PAIR, "second")
        await follower.end()
    assert "second\nnew" in follower.seen[-1][0]


async def test_it_follows_the_page_to_another_comparison() -> None:
    async with followed() as (one, watching, follower):
        first, one.id = one.id, ""
        await one.begin("another", Setup().added("b"))
        watching.show("s", await one.get())
        await follower.end()
        assert follower.seen[-1] == ["another\nI am b."]
        assert one.comparisons.turns(ME, first)  # it goes on, though nobody looks


async def test_a_new_comparison_ends_it() -> None:
    async with followed() as (_, watching, follower):
        watching.show("s", Comparison(PAIR))
        await follower.end()
        assert follower.seen[-1] == ["", ""]


async def test_a_deleted_comparison_ends_it() -> None:
    async with followed() as (one, _, follower):
        await one.context.conversations.delete(ME, one.id)
        await one.context.turns.stop(ME, one.id)
        await follower.end()


async def test_a_page_is_followed_by_one_alone() -> None:
    async with followed() as (one, watching, first):
        second = Follower(one, watching, await one.get())
        await second.end()
        assert len(second.seen) == 1
        assert not first.task.done()
        first.task.cancel()
        await asyncio.wait([first.task])
        third = Follower(one, watching, await one.get())
        await until(lambda: third.seen, within=WITHIN)
        assert not third.task.done()
        one.comparisons.stop(ME, one.id)
        await third.end()


async def test_one_that_stands_still_does_not_keep_another_from_following() -> None:
    """A page that has lost its stream of events does not take what its generator has."""
    async with bench("a", scripts={"a": Script(wait=600)}) as one:
        await one.begin("first", Setup().added("a"))
        watching = Watching()
        view = watching.show("s", await one.get())
        lost = watching.watch(one.comparisons, ME, "s")
        await anext(lost)
        assert view.followed
        await until(lambda: not view.followed, within=WITHIN)
        follower = Follower(one, watching, await one.get())
        await until(lambda: view.followed, within=WITHIN)
        assert not follower.task.done()
        one.comparisons.stop(ME, one.id)
        await follower.end()
        await lost.aclose()


async def test_a_page_that_nothing_is_known_of_shows_nothing() -> None:
    async with bench("a") as one:
        watching = Watching()
        watching.show("s", Comparison(PAIR))
        watching.leave("s")
        watching.leave("s")
        assert [faces async for faces in watching.watch(one.comparisons, ME, "s")] == [[]]
