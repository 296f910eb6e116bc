"""The chat tab.

with gr.Tab("Chat"):
    chat = chat_tab.build(context, panel)
chat.wire(page)
"""

from __future__ import annotations

from pathlib import Path

from .chat_events import ChatEvents
from .chat_layout import layout
from .context import GetContext
from .conversations_panel import Panel

CSS = Path(__file__).with_name("chat.css")
LOOK_AGAIN = 3.0  # seconds, while there is no model


def build(context: GetContext, panel: Panel, height: int | None = None) -> ChatEvents:
    """Put the tab where the page is being built; `panel` is the sidebar's, `height` the thread's
    in pixels, if it is not to take the window's.
    """
    return ChatEvents(context, layout(height, LOOK_AGAIN), panel)
