"""The columns of Compare and of the grid: one component, laid out once, shown as far as needed.

There are always `MOST` columns, of which those that are used are visible: components that come and
go (`gr.render`) would lose what streams into them. Gradio rebuilds a component for every
`gr.update` of it, `gr.skip` included, which for a Chatbot takes 4 ms. So what changes while answers
stream is plain values, three for a column; of what is equal to what was sent before nothing is
sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import gradio as gr

from .blind import label, letter
from .chat_layout import chatbot
from .chat_view import Choice
from .column_view import EMPTY, Face
from .comparison import MOST, Column
from .words import text


@dataclass(slots=True)
class Columns:
    """The components; of each list the one of the first column comes first."""

    boxes: list[gr.Column] = field(default_factory=list)
    names: list[gr.Markdown] = field(default_factory=list)
    """`Model A` in Compare; in the grid the model's name."""
    models: list[gr.Dropdown] = field(default_factory=list)
    """None in the grid."""
    stops: list[gr.Button] = field(default_factory=list)
    retries: list[gr.Button] = field(default_factory=list)
    removes: list[gr.Button] = field(default_factory=list)
    threads: list[gr.Chatbot] = field(default_factory=list)
    feet: list[gr.Markdown] = field(default_factory=list)
    marks: list[gr.Markdown] = field(default_factory=list)
    chooses: list[gr.Button] = field(default_factory=list)
    votes: list[gr.Button] = field(default_factory=list)

    @property
    def live(self) -> list[Any]:
        """What changes while answers stream."""
        return [*self.threads, *self.feet, *self.marks]

    @property
    def heads(self) -> list[Any]:
        """What else is changed."""
        return [*self.boxes, *(self.models or self.names)]


def lay_out(prefix: str, *, fixed: bool) -> Columns:
    """The columns, where the page is being built. `fixed`: models are neither chosen nor added."""
    made = Columns()
    with gr.Row(elem_id=f"{prefix}-columns", elem_classes="at-columns", equal_height=True):
        for at in range(MOST):
            with gr.Column(
                elem_id=f"{prefix}-col-{at}", elem_classes="at-column", min_width=0, visible=False
            ) as box:
                _head(made, prefix, at, fixed)
                made.threads.append(_thread(prefix, at))
                made.feet.append(_line(f"{prefix}-foot-{at}", "at-foot"))
                made.marks.append(_line(f"{prefix}-marks-{at}", "at-marks"))
                if not fixed:
                    _verdict(made, prefix, at)
            made.boxes.append(box)
    return made


def _head(made: Columns, prefix: str, at: int, fixed: bool) -> None:
    name = "" if fixed else f"**{label(at)}**"
    with gr.Row(elem_classes="at-head"):
        made.names.append(_line(f"{prefix}-name-{at}", "at-name", name))
        if not fixed:
            model = gr.Dropdown(
                [], label=f"Model of column {at + 1}", show_label=False, container=False,
                interactive=True, elem_id=f"{prefix}-model-{at}", elem_classes="at-model",
                min_width=0,
            )  # fmt: skip
            made.models.append(model)
        made.stops.append(_button("Stop", f"{prefix}-stop-{at}", "at-stop"))
        made.retries.append(_button("Retry", f"{prefix}-retry-{at}", "at-again"))
        if not fixed:
            made.removes.append(_button("Remove", f"{prefix}-remove-{at}", "at-remove"))


def _verdict(made: Columns, prefix: str, at: int) -> None:
    """Each is there only at its time: see compare.css."""
    made.chooses.append(_button("Go on with this answer", f"{prefix}-choose-{at}", "at-choice"))
    made.votes.append(_button(f"Vote for {letter(at)}", f"{prefix}-vote-{at}", "at-ballot"))


def _button(words: str, elem_id: str, kind: str) -> gr.Button:
    return gr.Button(words, size="sm", min_width=0, elem_id=elem_id, elem_classes=kind)


def _line(elem_id: str, kind: str, value: str = "") -> gr.Markdown:
    """Of our own HTML, in which foreign texts are escaped."""
    return gr.Markdown(
        value, elem_id=elem_id, elem_classes=kind, container=False, latex_delimiters=[],
        sanitize_html=False,
    )  # fmt: skip


def _thread(prefix: str, at: int) -> gr.Chatbot:
    made: Any = chatbot(
        None, label=f"Thread of column {at + 1}", min_height=80, placeholder=None, editable=None,
        elem_id=f"{prefix}-thread-{at}", elem_classes=["thread", "at-thread"],
    )  # fmt: skip
    # The schema of its values, which no caller of an API asks for, is 15 kB of the page.
    made._api_info_cache = {"type": "array"}
    return cast(gr.Chatbot, made)


def live(faces: Sequence[Face]) -> list[Any]:
    """The values of `Columns.live`."""
    every = [*faces, *[EMPTY] * (MOST - len(faces))]
    parts = ("thread", "foot", "marks")
    return [getattr(face, part) for part in parts for face in every]


def heads(
    columns: Sequence[Column], choices: Callable[[str], list[Choice]], *, hidden: bool
) -> list[Any]:
    """The updates of `Columns.heads` in Compare. What is `hidden` is not even in the page.

    `choices`: what a column with this model may have.
    """
    updates = [gr.update(visible=at < len(columns)) for at in range(MOST)]
    for at in range(MOST):
        if at >= len(columns) or hidden:
            updates.append(gr.update(choices=[], value=None))
        else:
            model = columns[at].model
            updates.append(gr.update(choices=choices(model), value=model or None))
    return updates


def headings(columns: Sequence[Column]) -> list[Any]:
    """The updates of `Columns.heads` in the grid."""
    shown = [f'<div class="at-title">{text(column.model)}</div>' for column in columns]
    return [
        *(gr.update(visible=at < len(columns)) for at in range(MOST)),
        *shown, *[""] * (MOST - len(shown)),
    ]  # fmt: skip
