"""What only Compare does: columns that change, blind rounds, leaderboard and export."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from h2o_relay.errors import RelayError

from . import compare_export, exporting
from .column_view import said
from .compare_events import QUICK, Desk
from .compare_parts import Parts
from .comparison import Comparison, Setup
from .context import GetContext
from .leaderboard import standings
from .leaderboard_view import table
from .words import text

NOTHING_YET = "There is nothing to export yet."
AFTER_VOTE = "The export tells who answered. Vote first, or skip the vote."


@dataclass(slots=True)
class Tools:
    add: gr.Button
    board: gr.Button
    panel: gr.Column
    """The leaderboard, instead of the columns."""
    table: gr.Markdown
    close: gr.Button
    exports: dict[compare_export.Kind, gr.Button]
    """By the file's kind."""
    file: gr.Textbox
    file_name: gr.Markdown
    ballots: dict[str, gr.Button]
    """For no column, by outcome."""


class CompareDesk(Desk):
    """The events of the Compare tab."""

    def __init__(self, context: GetContext, parts: Parts, tools: Tools) -> None:
        super().__init__(context, "compare", parts)
        self.tools = tools

    def wire(self, page: gr.Blocks, tab: gr.Tab | None) -> None:
        super().wire(page, tab)
        parts, columns, tools = self.parts, self.parts.columns, self.tools
        place, screen = [parts.place], self.screen
        tools.add.click(self.add, place, screen, **QUICK)
        gr.on([each.click for each in columns.removes], self.remove, place, screen, **QUICK)
        gr.on([each.input for each in columns.models], self.swap, [*place, *columns.models],
              screen, **QUICK)  # fmt: skip
        gr.on(
            [each.focus for each in columns.models],
            self.look,
            columns.models,
            columns.models,
            **QUICK,
        )
        switches = parts.switches
        gr.on([each.input for each in switches], self.switch, [*place, *switches], screen, **QUICK)
        gr.on([each.click for each in columns.votes], self.vote, place, screen, **QUICK)
        gr.on([each.click for each in columns.chooses], self.choose, place, screen, **QUICK)
        for outcome, ballot in tools.ballots.items():
            ballot.click(self.ballot(outcome), place, screen, **QUICK)
        tools.board.click(self.board, None, [tools.panel, tools.table], **QUICK)
        tools.close.click(self.close, None, [tools.panel], **QUICK)
        for kind, export in tools.exports.items():
            export.click(
                self.export(kind), place, [tools.file, tools.file_name, parts.notice], **QUICK
            )

    def open_after(self, event: Any, id: Any) -> None:
        """After an event: show the comparison whose id is in the component `id`."""
        event.then(self.open, [self.parts.place, id], self.screen, **QUICK)

    # Columns.

    async def look(self, request: gr.Request, event: gr.EventData, *chosen: Any) -> list[Any]:
        """The models that there are now, for the column that is opened; its value is left alone:
        it may be another by the time that this arrives.
        """
        at = self._at(event, self.parts.columns.models)
        model = chosen[at] if at < len(chosen) else None
        told: list[Any] = [gr.skip() for _ in chosen]
        if isinstance(model, str):
            told[at] = gr.update(choices=self.choices(self.owner(request), model))
        return told

    async def add(self, request: gr.Request, place: Any) -> list[Any]:
        async def work(owner: str, found: Comparison) -> Setup | None:
            model = found.setup.next_model(await self.models(owner))
            return found.setup.added(model) if model and not found.hidden else None

        return await self.do(request, place, work)

    async def remove(self, request: gr.Request, event: gr.EventData, place: Any) -> list[Any]:
        at = self._at(event, self.parts.columns.removes)

        def work(found: Comparison, slot: str) -> Setup | None:
            many = len(found.setup.columns) > 1
            return found.setup.without(slot) if many and not found.hidden else None

        return await self._changed(request, place, at, work)

    async def swap(
        self, request: gr.Request, event: gr.EventData, place: Any, *models: Any
    ) -> list[Any]:
        at = self._at(event, self.parts.columns.models)
        model = models[at] if at < len(models) else None

        def work(found: Comparison, slot: str) -> Setup | None:
            if not isinstance(model, str) or not model or found.hidden:
                return None
            return found.setup.swapped(slot, model)

        return await self._changed(request, place, at, work)

    async def switch(
        self, request: gr.Request, place: Any, shared: bool | None, blind: bool | None
    ) -> list[Any]:
        async def work(_: str, found: Comparison) -> Setup:
            return replace(found.setup, shared=shared is True, blind=blind is True)

        return await self.do(request, place, work)

    async def _changed(
        self, request: gr.Request, place: Any, at: int,
        change: Callable[[Comparison, str], Setup | None],
    ) -> list[Any]:  # fmt: skip
        async def work(_: str, found: Comparison) -> Setup | None:
            columns = found.arranged
            return change(found, columns[at].slot) if at < len(columns) else None

        return await self.do(request, place, work)

    # Verdicts.

    async def vote(self, request: gr.Request, event: gr.EventData, place: Any) -> list[Any]:
        at = self._at(event, self.parts.columns.votes)

        async def work(owner: str, found: Comparison) -> None:
            if found.id and at < len(found.arranged):
                await self.comparisons().vote(owner, found.id, found.arranged[at].slot)

        return await self.do(request, place, work)

    def ballot(self, outcome: str) -> Callable[..., Awaitable[list[Any]]]:
        async def cast(request: gr.Request, place: Any) -> list[Any]:
            async def work(owner: str, found: Comparison) -> None:
                if found.id:
                    await self.comparisons().vote(owner, found.id, outcome)

            return await self.do(request, place, work)

        return cast

    async def choose(self, request: gr.Request, event: gr.EventData, place: Any) -> list[Any]:
        at = self._at(event, self.parts.columns.chooses)

        async def work(owner: str, found: Comparison) -> None:
            if found.id and at < len(found.arranged):
                await self.comparisons().choose(owner, found.id, found.arranged[at].slot)

        return await self.do(request, place, work)

    # Leaderboard and export.

    async def board(self) -> list[Any]:
        try:
            told = table(standings(await self._context().votes.all()))
        except RelayError as error:
            told = said(f"⚠ {error.message}")
        return [gr.update(visible=True), told]

    async def close(self) -> Any:
        return gr.update(visible=False)

    def export(self, kind: compare_export.Kind) -> Callable[..., Awaitable[list[Any]]]:
        async def save(request: gr.Request, place: Any) -> list[Any]:
            try:
                owner, found = await self._found(request, place)
                if not found.id or found.hidden:
                    why = AFTER_VOTE if found.id else NOTHING_YET
                    return [gr.skip(), gr.skip(), self.noticed(owner, found, why)]
                kept = await self.comparisons().whole(owner, found.id)
            except RelayError as error:
                return [gr.skip(), gr.skip(), said(f"⚠ {error.message}")]
            # The number makes a second click a change, which the page's script waits for.
            name = text(exporting.file_name(kept, kind))
            mark = f'<span data-file="{name}" data-at="{time.time_ns()}"></span>'
            return [compare_export.exported(kept, kind), mark, self.noticed(owner, found, "")]

        return save
