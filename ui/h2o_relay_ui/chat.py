"""The chat tab: what is on it, and which event does what."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import gradio as gr

from .assistant import Assistant, Wishes
from .conversation import Message, closed, retried, said, undone
from .h2ogpt import endpoints
from .h2ogpt.service import Service

TITLE = "h2o relay"
CSS = Path(__file__).with_name("chat.css")
LOOK_AGAIN = 3.0  # seconds, while there is no model
EMPTY = "Ask anything."
Update = dict[str, Any]
# Histories are taken as the browser sends them: Gradio would build components from their parts.
PLAIN: dict[str, Any] = {"api_visibility": "private", "preprocess": False}
QUICK: dict[str, Any] = {**PLAIN, "queue": False, "show_progress": "hidden"}


def build(assistant: Callable[[], Assistant], service: Callable[[], Service]) -> gr.Blocks:
    """The page and h2oGPT's endpoints. Both are called for each event: what they give exists once
    the server runs.
    """
    page: gr.Blocks
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_height=True) as page:
        with gr.Row(elem_id="head", equal_height=True):
            gr.Markdown(f"# {TITLE}", elem_id="title", container=False)
            model = gr.Dropdown(
                [], label="Model", show_label=False, container=False, interactive=True,
                elem_id="model", min_width=120,
            )  # fmt: skip
            fresh = gr.Button("New chat", size="sm", elem_id="fresh", min_width=80)
        thread = _thread()
        box = gr.Textbox(
            label="Message", show_label=False, container=False, placeholder="Message", lines=1,
            max_lines=12, autofocus=True, submit_btn=True, stop_btn=False, elem_id="box",
        )  # fmt: skip
        system, temperature, max_tokens = _options()
        timer = gr.Timer(LOOK_AGAIN, active=False)
        _wire_models(page, assistant, model, timer)
        asked = [thread, model, system, temperature, max_tokens]
        _wire_answers(page, assistant, thread, box, fresh, asked)
        endpoints.add(service)
    page.queue(default_concurrency_limit=64, api_open=False)
    return page


def _thread() -> gr.Chatbot:
    return gr.Chatbot(
        show_label=False, container=False, scale=1, height=None, min_height=160,
        layout="bubble", placeholder=EMPTY, elem_id="thread",
        buttons=["copy"], feedback_options=None, allow_file_downloads=False,
        sanitize_html=True, allow_tags=False,
    )  # fmt: skip


def _options() -> tuple[gr.Textbox, gr.Textbox, gr.Textbox]:
    """System prompt, temperature, max tokens.

    The latter are text, since a gr.Number in a closed accordion turns into 0 when that is opened.
    """
    with gr.Accordion("Options", open=False, elem_id="options"):
        system = gr.Textbox(
            label="System prompt", placeholder="How the model should behave", lines=2, max_lines=8
        )
        with gr.Row():
            temperature = gr.Textbox(
                label="Temperature", placeholder="the model's own", max_length=10, min_width=120
            )
            max_tokens = gr.Textbox(
                label="Max tokens", placeholder="the model's own", max_length=10, min_width=120
            )
    return system, temperature, max_tokens


def _wire_models(
    page: gr.Blocks, assistant: Callable[[], Assistant], model: gr.Dropdown, timer: gr.Timer
) -> None:
    async def look(chosen: str | None) -> tuple[Update, Update]:
        names = await assistant().models()
        value = chosen if chosen in names else next(iter(names), None)
        return gr.update(choices=names, value=value), gr.update(active=not names)

    gr.on([page.load, timer.tick], look, [model], [model, timer], **QUICK)
    model.focus(look, [model], [model, timer], **QUICK)


def _wire_answers(
    page: gr.Blocks, assistant: Callable[[], Assistant], thread: gr.Chatbot, box: gr.Textbox,
    fresh: gr.Button, asked: list[Any],
) -> None:  # fmt: skip
    async def answer(
        history: list[Message] | None, model: str | None, system: str | None,
        temperature: str | None, max_tokens: str | None, request: gr.Request,
    ) -> AsyncIterator[list[Message]]:  # fmt: skip
        session = request.session_hash or ""
        wishes = Wishes(model, system, temperature, max_tokens)
        async with aclosing(assistant().answer(history or [], wishes, session)) as answers:
            async for shown in answers:
                yield shown

    async def leave(request: gr.Request) -> None:
        assistant().leave(request.session_hash or "")

    sent = box.submit(send, [box, thread], [box, thread], **QUICK)
    again = thread.retry(retry, [thread], [box, thread], **QUICK)
    answers = [
        event.then(answer, asked, [thread], show_progress="minimal", **PLAIN)
        for event in (sent, again)
    ]
    for event in answers:  # the box alone: another event may have changed the thread meanwhile
        event.then(ready, None, [box], **QUICK)
    stopped = box.stop(None, None, None, cancels=answers, **QUICK)
    stopped.then(close, [thread], [thread], **QUICK)
    thread.retry(None, None, None, cancels=answers, **QUICK)
    thread.undo(undo, [thread], [box, thread], cancels=answers, **QUICK)
    fresh.click(begin, None, [box, thread], cancels=answers, **QUICK)
    page.unload(leave)


def busy(text: str | None = None) -> Update:
    """The box while an answer comes: it stops instead of sending."""
    change: Update = {} if text is None else {"value": text}
    return gr.update(interactive=False, submit_btn=False, stop_btn=True, **change)


def ready() -> Update:
    return gr.update(interactive=True, submit_btn=True, stop_btn=False)


def begin() -> tuple[Update, list[Message]]:
    return ready(), []


def send(text: str | None, history: list[Message] | None) -> tuple[Update, Any]:
    if not text or not text.strip():
        return gr.skip(), gr.skip()
    return busy(""), [*(history or []), said("user", text)]


def retry(history: list[Message] | None) -> tuple[Update, list[Message]]:
    return busy(), retried(history or [])


def close(history: list[Message] | None) -> list[Message]:
    return closed(history or [])


def undo(history: list[Message] | None) -> tuple[Update, list[Message]]:
    rest, question = undone(history or [])
    return gr.update(value=question), rest
