"""The Compare tab: one prompt to as many models as wanted, side by side.

    with gr.Tab("Compare"):
        compare = compare_tab.build(get_context)

Columns, rounds and their events are those of `columns` and `compare_events`, which the grid has too
(`grid_tab`). What only Compare has is in `compare_desk`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import gradio as gr
from gradio.context import Context as Building

from .columns import lay_out
from .compare_desk import CompareDesk, Tools
from .compare_events import Parts
from .compare_export import Kind
from .comparison import FIELDS
from .context import GetContext
from .options import OWN
from .rounds import NONE, SKIPPED, TIE

CSS = Path(__file__).with_name("compare.css")
REMEMBERED = "h2o-relay-compare"
LINES = {"system": (2, 8), "stop": (1, 4)}
"""Lines of the fields that have several: at first, and at most."""
LONGEST = 20_000  # characters of a field


def build(context: GetContext) -> CompareDesk:
    """Put the tab's parts where the page is being built, and wire them."""
    with gr.Column(elem_id="compare", elem_classes="at-desk"):
        tools, parts = _layout()
    desk = CompareDesk(context, parts, tools)
    desk.wire(*around())
    return desk


def around() -> tuple[gr.Blocks, gr.Tab | None]:
    """The page and the tab that are being built."""
    root, tab = Building.root_block, Building.block
    assert root is not None, "a tab is built inside a page"
    while tab is not None and not isinstance(tab, gr.Tab):
        tab = tab.parent
    return root, tab


def kept(key: str) -> gr.BrowserState:
    """What the browser keeps under a key; the secret is none. It is put beside the tabs: what is
    in one that is not open is not there yet when the page is loaded, and is overwritten.
    """
    state: Any = gr.BrowserState(None, storage_key=key, secret=key, render=False)
    here, Building.block = Building.block, around()[0]
    try:
        state.render()
    finally:
        Building.block = here
    return cast(gr.BrowserState, state)


def _layout() -> tuple[Tools, Parts]:
    with gr.Row(elem_id="compare-tools", elem_classes="at-tools"):
        fresh = button("New", "compare-fresh")
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
    place = kept(REMEMBERED)
    file, name = file_parts("compare")
    tools = Tools(add, board, panel, table, close, exports, file, name, ballots)
    signal = signal_of("compare")
    return tools, Parts(place, columns, notice, box, fields, stop, fresh, signal, shared, blind)


def _verdict() -> tuple[gr.Markdown, dict[str, gr.Button]]:
    with gr.Row(elem_id="compare-verdict", elem_classes="at-verdict"):
        notice = notice_line("compare")
        ballots = {
            TIE: button("Tie", "compare-vote-tie"),
            NONE: button("None is good", "compare-vote-none"),
            SKIPPED: button("Skip the vote", "compare-vote-skip"),
        }
    return notice, ballots


def button(words: str, elem_id: str) -> gr.Button:
    return gr.Button(words, size="sm", min_width=0, elem_id=elem_id)


def notice_line(prefix: str) -> gr.Markdown:
    return gr.Markdown(
        "", elem_id=f"{prefix}-notice", elem_classes="at-notice", container=False,
        latex_delimiters=[], sanitize_html=False,
    )  # fmt: skip


def send_row(prefix: str, words: str) -> tuple[gr.Textbox, gr.Button]:
    with gr.Row(elem_id=f"{prefix}-send", elem_classes="at-send"):
        box = gr.Textbox(
            label=words, show_label=False, container=False, placeholder=words, lines=1,
            max_lines=8, submit_btn=True, elem_id=f"{prefix}-box",
        )  # fmt: skip
        stop = button("Stop all", f"{prefix}-stop")
    return box, stop


def options(prefix: str) -> list[gr.Textbox]:
    """All are texts: an empty gr.Number turns into 0 where it is not seen."""
    fields = []
    with gr.Accordion(
        "Options", open=False, elem_id=f"{prefix}-options", elem_classes="at-options"
    ):
        for each in FIELDS:
            lines, most = LINES.get(each.name, (1, 1))
            fields.append(
                gr.Textbox(
                    label=each.label, info=each.help, lines=lines, max_lines=most, placeholder=OWN,
                    max_length=LONGEST if most > 1 else 40, min_width=0,
                    elem_id=f"{prefix}-option-{each.name.replace('_', '-')}",
                )
            )  # fmt: skip
    return fields


def file_parts(prefix: str) -> tuple[gr.Textbox, gr.Markdown]:
    """The text and the name of a file that the page's script saves (page.js)."""
    file = gr.Textbox(visible="hidden", elem_id=f"{prefix}-file")
    name = gr.Markdown(visible="hidden", elem_id=f"{prefix}-file-name", sanitize_html=False)
    return file, name


def signal_of(prefix: str) -> gr.Textbox:
    """What is not seen, and whose change makes the page follow its answers."""
    return gr.Textbox("", visible="hidden", elem_id=f"{prefix}-signal")
