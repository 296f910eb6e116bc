"""The components that Compare and the grid have both, and how they are put on a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import gradio as gr
from gradio.context import Context as Building

from .columns import Columns
from .comparison import FIELDS
from .options import OWN

LINES = {"system": (2, 8), "stop": (1, 4)}
"""Lines of the fields that have several: at first, and at most."""
LONGEST = 20_000  # characters of a field


@dataclass(slots=True)
class Parts:
    """The components. Those that the grid has not are None."""

    place: gr.BrowserState
    columns: Columns
    notice: gr.Markdown
    box: gr.Textbox
    fields: list[gr.Textbox]
    stop: gr.Button
    fresh: gr.Button
    signal: gr.Textbox
    """Its change begins to follow the answers. Gradio's stream of events is only opened where
    something runs: several that begin and end at once get into each other's way."""
    shared: gr.Checkbox | None = None
    blind: gr.Checkbox | None = None

    @property
    def switches(self) -> list[Any]:
        return [each for each in (self.shared, self.blind) if each is not None]


def around() -> tuple[gr.Blocks, gr.Tab | None]:
    """The page and the tab that are being built."""
    root, tab = Building.root_block, Building.block
    assert root is not None, "a tab is built inside a page"
    while tab is not None and not isinstance(tab, gr.Tab):
        tab = tab.parent
    return root, tab


def remembered(key: str) -> gr.BrowserState:
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
