"""How a tab is kept up to date while it is open, and costs nothing while it is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.context import Context as Building

PLAIN: dict[str, Any] = {
    "api_visibility": "private", "preprocess": False, "show_progress": "hidden",
    "show_progress_on": [],
}  # fmt: skip
"""Once told of a progress, even of one that is not shown, an output is told of that of every event
that comes after, tokens of an answer included: hence `show_progress_on`.
"""
QUICK: dict[str, Any] = {**PLAIN, "queue": False}
SLOW: dict[str, Any] = {**PLAIN, "concurrency_limit": None}
"""For generators and what waits for somebody else: Gradio's queue runs them."""
Props = dict[str, Any]
"""What a component is to be updated with."""


def watch(
    seconds: float, look: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]
) -> gr.Timer:
    """Call `look` when the tab that is being built is opened, and so often while it is open.

    Its answers go to `outputs`, whose `change` events happen only if there is something new: a
    quiet page costs one small request each time, and is sent nothing.
    """
    tab = _around(gr.Tab)
    tabs = _around(gr.Tabs)
    timer = gr.Timer(seconds, active=tab is None)
    timer.tick(look, inputs, outputs, **QUICK)
    if tab is not None and tabs is not None:
        tab.select(look, inputs, outputs, **QUICK)
        label = tab.label

        async def switch(event: gr.SelectData) -> Props:
            return gr.update(active=event.value == label)

        tabs.select(switch, None, [timer], **QUICK)
    return timer


def _around(kind: type) -> Any:
    """The innermost block of a kind that what is built now is in; None without one."""
    block = Building.block
    while block is not None and not isinstance(block, kind):
        block = block.parent
    return block


def news(shown: Mapping[str, Props], wanted: Mapping[str, Props]) -> dict[str, Props]:
    """Of what is wanted, what is not shown already."""
    return {name: props for name, props in wanted.items() if shown.get(name) != props}
