"""The grid of a model lock."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any, cast

import pytest

from h2o_relay.testing.settings import quick
from h2o_relay_ui.grid_tab import per_row

from .compare_kit import ME, bench, opened

pytestmark = [
    pytest.mark.usefixtures("no_stray_tasks"),
    pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed"),
    pytest.mark.timeout(120),  # Gradio's import
]


@pytest.mark.parametrize(
    ("columns", "models", "row"),
    [
        (None, 1, 1), (None, 3, 3), (None, 4, 2), (None, 5, 3), (None, 7, 3),
        (-1, 7, 7), (-1, 1, 1), (4, 8, 4), (4, 5, 3), (2, 4, 2), (9, 2, 2), (1, 3, 1), (3, 0, 1),
    ],
)  # fmt: skip
def test_rows_have_no_more_columns_than_wanted_and_are_filled_evenly(
    columns: int | None, models: int, row: int
) -> None:
    assert per_row(columns, models) == row


@pytest.mark.parametrize(("columns", "there"), [(None, False), (0, False), (-1, True), (4, True)])
async def test_when_there_is_a_grid(
    columns: int | None, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from h2o_relay_ui import page

    monkeypatch.setitem(sys.modules, "matplotlib", None)  # type: ignore[arg-type]
    made = page.build(lambda: cast(Any, None), quick(model_lock_columns=columns))
    tabs = {getattr(block, "elem_id", None) for block in made.blocks.values()}
    assert "tab-chat" in tabs
    assert ("tab-grid" in tabs) == there


async def test_every_model_of_the_lock_answers_one_question() -> None:
    settings = SimpleNamespace(model_lock_columns=2)
    async with bench("a", "b", "c", "<b>d", kind="grid", settings=settings) as one:
        one.relay.set("b", visible=False)
        page = opened("grid")
        await page.load()
        names = [page.values[each] for each in page.desk.parts.columns.names[:3]]
        assert [">a<" in names[0], ">c<" in names[1], "&lt;b&gt;d" in names[2]] == [True] * 3
        assert page.visible == 3
        assert "at-row-2" in page.values[page.desk.around[-1]]
        await page.send("hi")
        await page.follow()
        assert [page.thread(at) for at in range(3)] == [
            "hi\nI am a.", "hi\nI am c.", "hi\nI am <b>d."
        ]  # fmt: skip
        [summary] = await one.context.conversations.list(ME)
        assert summary.kind == "grid"
        await page.send("and?")
        await page.follow()
        told = [m["content"] for m in one.relay.asked[-2].params["messages"]]
        assert told == ["hi", "I am c.", "and?"]


async def test_a_new_grid_has_the_models_of_now() -> None:
    async with bench("a", "b", kind="grid") as one:
        page = opened("grid")
        await page.load()
        await page.send("hi", system="Be brief.")
        await page.follow()
        one.relay.put(*one.relay.views[1:])
        await page.load()
        assert page.visible == 2
        await page.do(page.desk.fresh, page.place)
        assert page.visible == 1
        assert page.values[page.desk.parts.fields[0]] == "Be brief."


async def test_models_that_have_no_room_are_counted() -> None:
    async with bench(*map(str, range(18)), kind="grid"):
        page = opened("grid")
        await page.load()
        assert page.visible == 16
        assert "16 of 18 models" in page.notice
