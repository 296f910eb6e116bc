"""h2oGPT's grid of chatbots: every model of the lock answers one input.

    if grid_tab.is_wanted(settings):
        with gr.Tab("Grid"):
            grid_tab.build_grid(get_context)

`--model_lock_columns` says how many stand in a row, with h2oGPT's meaning: nothing is 3, -1 is all
in one row, and 0 is no grid at all. As there, rows are filled evenly: five models in up to four
columns are three and two.
"""

from __future__ import annotations

import math
from typing import Any

import gradio as gr

from . import compare_kept
from .column_view import said
from .columns import headings, lay_out
from .compare_events import Desk
from .compare_kept import Kept
from .compare_parts import (
    Parts,
    around,
    button,
    notice_line,
    options,
    remembered,
    send_row,
    signal_of,
)
from .comparison import MOST, Comparison, Setup
from .context import GetContext

USUAL = 3  # columns in a row
ALL = -1
REMEMBERED = "h2o-relay-grid"
MORE = "{} of {} models are shown here: the first ones. The Chat tab has all of them."


def is_wanted(settings: Any) -> bool:
    """Whether a page with these settings has the grid."""
    return bool(getattr(settings, "model_lock_columns", None))


def per_row(columns: int | None, models: int) -> int:
    """How many columns a row of the grid has. `columns` is what `--model_lock_columns` says."""
    most = columns if columns is not None and columns > 0 else models if columns == ALL else USUAL
    rows = math.ceil(models / most) if models else 1
    return max(1, math.ceil(models / rows))


def build_grid(context: GetContext) -> Desk:
    """Put the grid's parts where the page is being built, and wire them."""
    with gr.Column(elem_id="grid", elem_classes="at-desk"):
        with gr.Row(elem_id="grid-tools", elem_classes="at-tools"):
            fresh = button("New", "grid-fresh")
            earlier, delete = compare_kept.chooser("grid"), compare_kept.deleter("grid")
        kept = compare_kept.parts("grid", earlier, delete)
        shape = gr.Markdown("", elem_id="grid-shape", container=False, sanitize_html=False)
        columns = lay_out("grid", fixed=True)
        notice = notice_line("grid")
        box, stop = send_row("grid", "Message to all models")
        fields = options("grid")
        place = remembered(REMEMBERED)
    parts = Parts(place, columns, notice, box, fields, stop, fresh, signal_of("grid"))
    desk = GridDesk(context, parts, shape)
    desk.wire(*around())
    Kept(desk, kept).wire()
    return desk


class GridDesk(Desk):
    """The events of the grid. Its columns are the relay's models; nobody chooses them."""

    def __init__(self, context: GetContext, parts: Parts, shape: gr.Markdown) -> None:
        super().__init__(context, "grid", parts)
        self.around.append(shape)
        at = self.screen.index(parts.columns.live[0])
        self.screen.insert(at, shape)

    async def begun(self, owner: str, setup: Setup) -> Setup:
        return Setup(texts=setup.texts).added(*await self.models(owner))

    def headed(self, owner: str, comparison: Comparison) -> list[Any]:
        count = len(comparison.setup.columns)
        wanted = getattr(self._context().settings, "model_lock_columns", None)
        row = per_row(wanted, count)
        return [
            *headings(comparison.arranged),
            f'<span class="at-row-{row}" data-rows="{math.ceil(count / row)}"></span>',
        ]

    def noticed(self, owner: str, comparison: Comparison, problem: str) -> str:
        every = self.named(owner)
        if not problem and len(every) > MOST and not comparison.id:
            return said(MORE.format(MOST, len(every)))
        return super().noticed(owner, comparison, problem)
