"""What is on the models tab, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from .models_fields import prompt_types
from .models_rows import PAGE

BASE_MODEL = "mistralai/Mistral-7B-Instruct-v0.3"
SERVER = "vllm_chat:192.168.1.46:8000"
MOVING = ("summary", "list", "details")
HELP = {
    "base_model": "Which model. Empty: all that the server has.",
    "server": "Where it runs, as h2oGPT writes it, or a plain URL.",
    "prompt_type": "For servers that only complete text. Empty: automatic.",
    "context": "In tokens. Empty: what the server says.",
    "key": "What the server asks for, if it asks for one.",
    "name": "What the model is called here. Empty: as on its server.",
}


@dataclass(slots=True)
class Parts:
    """The components, by name; `named` has those whose properties follow the deployments."""

    named: dict[str, Any] = field(default_factory=dict)
    picks: list[Any] = field(default_factory=list)
    fields: list[Any] = field(default_factory=list)

    @property
    def moving(self) -> list[Any]:
        """Those that follow counters and clocks. An update costs for each component that it could
        change, so those that seldom do are left out.
        """
        return [self.named[name] for name in MOVING]

    def __getitem__(self, name: str) -> Any:
        return self.named[name]


def html(elem_id: str, value: str = "", **more: Any) -> Any:
    """HTML of our own, in which every foreign text is escaped (words.py)."""
    return gr.Markdown(
        value, elem_id=elem_id, sanitize_html=False, latex_delimiters=[], container=False, **more
    )


def layout() -> Parts:
    """All of it, with nothing in it yet."""
    parts = Parts()
    with gr.Column(elem_id="models"):
        _head(parts)
        _form(parts)
        parts.named["columns"] = html("models-columns")
        _rows(parts)
        _pager(parts)
        _panel(parts)
    return parts


def _head(parts: Parts) -> None:
    with gr.Row(elem_id="models-head", equal_height=True):
        parts.named["summary"] = html("models-summary")
        parts.named["find"] = gr.Textbox(
            label="Find", show_label=False, container=False, placeholder="Find a model or server",
            elem_id="models-find", min_width=120, visible=False,
        )  # fmt: skip
        parts.named["open"] = gr.Button(
            "Add a model", size="sm", elem_id="models-open", min_width=110, visible=False
        )
    parts.named["note"] = html("models-note")


def _form(parts: Parts) -> None:
    with gr.Column(elem_id="models-form", visible=False) as form:
        parts.named["form_title"] = html("models-form-title")
        with gr.Row():
            base_model = _field("base_model", "Base model", BASE_MODEL)
            server = _field("server", "Server", SERVER)
        with gr.Row():
            prompt_type = gr.Dropdown(
                prompt_types(), value=None, label="Prompt type", info=HELP["prompt_type"],
                filterable=True, elem_id="models-prompt-type", min_width=200,
            )  # fmt: skip
            context = _field("context", "Context length", "8192", max_length=20)
        with gr.Row():
            key = _field("key", "Key", "", "new-password", type="password")
            name = _field("name", "Display name", "")
        parts.fields = [base_model, server, prompt_type, context, key, name]
        parts.named["found"] = html("models-found")
        with gr.Row(elem_id="models-form-buttons"):
            parts.named["look"] = _button("Look", "models-look")
            parts.named["add"] = _button("Add", "models-add", variant="primary")
            parts.named["cancel"] = _button("Cancel", "models-cancel")
    parts.named["form"] = form


def _field(
    name: str, label: str, placeholder: str, completed: str = "off", **more: Any
) -> Any:  # fmt: skip
    """A line for names, which a browser neither corrects nor fills in by itself."""
    typed = gr.InputHTMLAttributes(
        autocapitalize="off", autocorrect="off", spellcheck=False, autocomplete=completed
    )
    return gr.Textbox(
        label=label, info=HELP[name], placeholder=placeholder, lines=1, max_lines=1,
        elem_id=f"models-{name.replace('_', '-')}", min_width=200, html_attributes=typed, **more,
    )  # fmt: skip


def _button(label: str, elem_id: str, **more: Any) -> Any:
    return gr.Button(label, size="sm", elem_id=elem_id, min_width=80, **more)


def _rows(parts: Parts) -> None:
    """All rows in one piece, and over each the button that selects it: it stays where it is when
    the facts change, so that no click and no focus is lost.
    """
    with gr.Column(elem_id="models-rows"):
        parts.named["list"] = html("models-list")
        for number in range(PAGE):
            pick = gr.Button("", elem_id=f"models-pick-{number}", elem_classes="models-pick",
                             visible=False)  # fmt: skip
            parts.named[f"pick-{number}"] = pick
            parts.picks.append(pick)


def _pager(parts: Parts) -> None:
    with gr.Row(elem_id="models-pager", visible=False) as pager:
        parts.named["previous"] = _button("Previous", "models-previous")
        parts.named["where"] = html("models-where")
        parts.named["next"] = _button("Next", "models-next")
    parts.named["pager"] = pager


def _panel(parts: Parts) -> None:
    named = parts.named
    with gr.Column(elem_id="models-panel", visible=False) as panel:
        named["details"] = html("models-details")
        with gr.Row(elem_id="models-actions"):
            named["test"] = _button("Test", "models-test")
            named["load"] = _button("Load", "models-load", visible=False)
            named["unload"] = _button("Unload", "models-unload", visible=False)
            named["hide"] = _button("Hide", "models-hide", visible=False)
            named["edit"] = _button("Edit", "models-edit", visible=False)
            named["remove"] = _button("Remove", "models-remove", visible=False)
            named["close"] = _button("Close", "models-close")
        with gr.Row(elem_id="models-confirm", visible=False) as confirm:
            named["question"] = html("models-question")
            named["yes"] = _button("Remove", "models-confirm-yes", variant="stop")
            named["no"] = _button("Keep", "models-confirm-no")
        named["confirm"] = confirm
        named["message"] = html("models-message")
    named["panel"] = panel
