"""What is on the chat tab: components, without what they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from .chat_view import TEMPORARY, empty
from .latex import DELIMITERS
from .options import FIELDS, OWN

LONGEST_PASTE = 10**7  # characters; Gradio would make a file of a longer one
MULTILINE = {"system": (3, 10), "stop": (2, 6)}
"""Lines of the fields that have several: at first, and at most."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The tab's components."""

    id: gr.Textbox
    """The open conversation, held by the page: it survives a restart of this process."""
    turn: gr.Textbox
    """The answer that is coming; its change is what makes the page follow it."""
    asked: gr.Textbox
    """The answer that the last event asked for, "" if it did not: `turn` is to be it, too."""
    marker: gr.Markdown
    """Tells the page's script which conversation is open."""
    model: gr.Dropdown
    banner: gr.Markdown
    thread: gr.Chatbot
    notice: gr.Markdown
    box: gr.MultimodalTextbox
    meter: gr.Markdown
    options: list[gr.Textbox]
    timer: gr.Timer


def layout(height: int | None, look_again: float) -> Parts:
    """Put the parts where the page is being built. `height` is the thread's, in pixels; without
    one it takes the window's.
    """
    id = gr.Textbox("", visible="hidden", elem_id="chat-id")
    turn = gr.Textbox("", visible="hidden", elem_id="chat-turn")
    asked = gr.Textbox("", visible="hidden", elem_id="chat-asked")
    marker = gr.Markdown(visible="hidden", elem_id="chat-marker", sanitize_html=False)
    with gr.Row(elem_id="chat"):
        with gr.Column(elem_id="chat-main", scale=1, min_width=260):
            model = _head()
            banner = gr.Markdown(
                TEMPORARY, visible=False, container=False, elem_id="chat-banner",
                elem_classes="notice",
            )  # fmt: skip
            thread = chatbot(height)
            notice = gr.Markdown(
                "", visible=False, container=False, elem_id="chat-notice", elem_classes="notice"
            )
            box = _box()
            meter = gr.Markdown("", elem_id="chat-meter", container=False, sanitize_html=False)
        fields = _panel()
    timer = gr.Timer(look_again, active=False)
    return Parts(
        id, turn, asked, marker, model, banner, thread, notice, box, meter, fields, timer
    )  # fmt: skip


def chatbot(height: int | None, **changes: Any) -> gr.Chatbot:
    """A thread. Rows are not grouped, so that what is copied is the answer alone."""
    usual: dict[str, Any] = {
        "show_label": False, "container": False, "scale": 1, "height": height, "min_height": 120,
        "layout": "bubble", "placeholder": empty(""), "elem_id": "chat-thread",
        "elem_classes": "thread", "buttons": ["copy"], "feedback_options": None,
        "allow_file_downloads": False, "group_consecutive_messages": False, "editable": "user",
        "latex_delimiters": DELIMITERS, "sanitize_html": True, "allow_tags": True,
    }  # fmt: skip
    return gr.Chatbot([], **{**usual, **changes})


def _head() -> gr.Dropdown:
    with gr.Row(elem_id="chat-head", equal_height=True):
        model = gr.Dropdown(
            [], label="Model", show_label=False, container=False, interactive=True,
            elem_id="chat-model", min_width=120,
        )  # fmt: skip
        gr.Button("Options", size="sm", elem_id="chat-options-toggle", min_width=70)
    return model


def _box() -> gr.MultimodalTextbox:
    return gr.MultimodalTextbox(
        label="Message", show_label=False, container=False, placeholder="Message", lines=1,
        max_lines=12, autofocus=True, submit_btn=True, stop_btn=False, elem_id="chat-box",
        interactive=False,  # until the page is drawn: that would undo what was sent before it
        file_types=["image"], file_count="multiple", sources=["upload"],
        max_plain_text_length=LONGEST_PASTE,
    )  # fmt: skip


def _panel() -> list[gr.Textbox]:
    """The options. All are texts: an empty gr.Number turns into 0 where it is not seen."""
    with gr.Column(elem_id="chat-options", scale=0, min_width=260):
        with gr.Row(elem_id="chat-options-head"):
            gr.Markdown("### Options", container=False)
            gr.Button("Close", size="sm", elem_id="chat-options-close", min_width=60)
        fields = []
        for field in FIELDS:
            lines, most = MULTILINE.get(field.name, (1, 1))
            fields.append(
                gr.Textbox(
                    label=field.label, info=field.help, elem_id=field.elem_id, lines=lines,
                    max_lines=most, placeholder=OWN, max_length=20_000 if most > 1 else 40,
                )
            )  # fmt: skip
    return fields
