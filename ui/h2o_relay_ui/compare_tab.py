"""The Compare tab: one prompt to as many models as wanted, side by side.

    with gr.Tab("Compare"):
        compare = compare_tab.build(get_context)

Columns, rounds and their events are those of `columns` and `compare_events`, which the grid has too
(`grid_tab`). What only Compare has is in `compare_desk`.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from . import compare_kept
from .columns import lay_out
from .compare_desk import CompareDesk, Tools
from .compare_export import Kind
from .compare_kept import Kept, KeptParts
from .compare_parts import (
    Parts,
    around,
    button,
    file_parts,
    notice_line,
    options,
    remembered,
    send_row,
    signal_of,
)
from .context import GetContext
from .rounds import NONE, SKIPPED, TIE

CSS = Path(__file__).with_name("compare.css")
REMEMBERED = "h2o-relay-compare"


def build(context: GetContext) -> CompareDesk:
    """Put the tab's parts where the page is being built, and wire them."""
    with gr.Column(elem_id="compare", elem_classes="at-desk"):
        tools, parts, kept = _layout()
    desk = CompareDesk(context, parts, tools)
    desk.wire(*around())
    Kept(desk, kept).wire()
    return desk


def _layout() -> tuple[Tools, Parts, KeptParts]:
    with gr.Row(elem_id="compare-tools", elem_classes="at-tools"):
        fresh = button("New", "compare-fresh")
        earlier = compare_kept.chooser("compare")
        add = button("Add column", "compare-add")
        shared = gr.Checkbox(
            False, label="Shared history", container=False, elem_id="compare-shared", min_width=0
        )
        blind = gr.Checkbox(
            False, label="Blind", container=False, elem_id="compare-blind", min_width=0
        )
        board = button("Leaderboard", "compare-leaderboard")
        exports: dict[Kind, gr.Button] = {
            "md": button("Export Markdown", "compare-export-md"),
            "json": button("Export JSON", "compare-export-json"),
        }
        delete = compare_kept.deleter("compare")
    kept = compare_kept.parts("compare", earlier, delete)
    with gr.Column(visible=False, elem_id="compare-board", elem_classes="at-board") as panel:
        table = gr.Markdown(
            "", elem_id="compare-board-table", container=False, latex_delimiters=[],
            sanitize_html=False,
        )  # fmt: skip
        close = button("Back to the columns", "compare-board-close")
    columns = lay_out("compare", fixed=False)
    notice, ballots = _verdict()
    box, stop = send_row("compare", "Message to all columns")
    fields = options("compare")
    place = remembered(REMEMBERED)
    file, name = file_parts("compare")
    tools = Tools(add, board, panel, table, close, exports, file, name, ballots)
    signal = signal_of("compare")
    parts = Parts(place, columns, notice, box, fields, stop, fresh, signal, shared, blind)
    return tools, parts, kept


def _verdict() -> tuple[gr.Markdown, dict[str, gr.Button]]:
    with gr.Row(elem_id="compare-verdict", elem_classes="at-verdict"):
        notice = notice_line("compare")
        ballots = {
            TIE: button("Tie", "compare-vote-tie"),
            NONE: button("None is good", "compare-vote-none"),
            SKIPPED: button("Skip the vote", "compare-vote-skip"),
        }
    return notice, ballots
