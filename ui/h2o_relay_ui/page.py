"""The page: a sidebar with the conversations, a tab for each thing that can be done, and h2oGPT's
endpoints.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from . import chat_tab, compare_tab, conversations_panel, grid_tab, models_tab, system_tab
from .context import GetContext
from .h2ogpt import endpoints
from .panel_events import PanelEvents
from .signin import sign_in_of
from .watching import QUICK

TITLE = "h2o relay"
HERE = Path(__file__).parent
CSS: Sequence[Path] = (
    HERE / "page.css", HERE / "thread.css", chat_tab.CSS, compare_tab.CSS, models_tab.CSS,
    system_tab.CSS,
)  # fmt: skip
SCRIPT = HERE / "page.js"
SIDEBAR = 280  # pixels
JOBS = 1024  # events that Gradio's queue runs at the same time: answers that are followed
FONT = gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700))
MONO = gr.themes.LocalFont("IBM Plex Mono", weights=(400, 700))


def build(context: GetContext, settings: Any = None) -> gr.Blocks:
    """The page. `context` is called for each event: what it gives exists once the server runs.
    `settings` says how it looks.
    """
    page: gr.Blocks
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_height=True) as page:
        if getattr(settings, "allow_api", True):
            endpoints.add(context)  # first: of two events of one name Gradio renames the later
        with gr.Sidebar(elem_id="conversations", width=SIDEBAR):
            gr.Markdown(f"# {TITLE}", elem_id="title", container=False)
            panel = conversations_panel.layout()
            who = gr.Markdown("", elem_id="who", container=False, sanitize_html=False)
        with gr.Tabs(elem_id="tabs") as tabs:
            with _tab("Chat"):
                chat = chat_tab.build(context, panel, getattr(settings, "height", None))
            _others(context, settings)
        chat.wire(page, tabs)
        PanelEvents(context, chat).wire()
        page.load(_signed_in(context), None, [who], **QUICK)
    page.queue(default_concurrency_limit=64, api_open=False)
    page._queue.max_thread_count = JOBS  # what `launch` sets: 40 by default, for all events
    # For each update Gradio tries twice to import it, which takes longer than all that we do.
    sys.modules.setdefault("matplotlib", None)  # type: ignore[arg-type]
    return page


def _signed_in(context: GetContext) -> Callable[[gr.Request], Awaitable[str]]:
    """Who is signed in, and a way out; the sign-in escapes names."""

    async def who(request: gr.Request) -> str:
        here = context()
        return sign_in_of(here).sign_out(here.user(request))

    return who


def _others(context: GetContext, settings: Any) -> None:
    """All tabs but the chat's."""
    with _tab("Compare"):
        compare_tab.build(context)
    if grid_tab.is_wanted(settings):
        with _tab("Grid"):
            grid_tab.build_grid(context)
    with _tab("Models"):
        models_tab.build(context)
    with _tab("System"):
        system_tab.build(context)


def _tab(label: str) -> Any:
    return gr.Tab(label, id=label.lower(), elem_id=f"tab-{label.lower()}")


def head() -> str:
    """What goes into the page's head: its script."""
    return f"<script>{SCRIPT.read_text(encoding='utf-8')}</script>"


def theme(settings: Any = None) -> Any:
    """Calm and grey, with fonts that are in Gradio's own package; H2O's yellow if asked for."""
    sizes = gr.themes.sizes
    size = str(getattr(settings, "gradio_size", None) or "medium")
    name = {"small": "sm", "medium": "md", "large": "lg"}.get(size, "md")
    hue = yellow() if getattr(settings, "h2ocolors", False) else "slate"
    made = gr.themes.Default(
        primary_hue=hue, secondary_hue=hue, neutral_hue="slate", font=[FONT, "sans-serif"],
        font_mono=[MONO, "monospace"], spacing_size=getattr(sizes, f"spacing_{name}"),
        radius_size=getattr(sizes, f"radius_{name}"), text_size=getattr(sizes, f"text_{name}"),
    )  # fmt: skip
    # Gradio's own are too pale to be read.
    return made.set(
        body_text_color_subdued="*neutral_500", input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )  # fmt: skip


def yellow() -> Any:
    """H2O's yellow (#FEC925) as a hue, from light to dark."""
    return gr.themes.Color(
        name="h2o", c50="#fffaeb", c100="#fff3cc", c200="#ffe699", c300="#fedb66", c400="#fed141",
        c500="#fec925", c600="#e0ac0a", c700="#a87f06", c800="#7a5c05", c900="#4d3a03",
        c950="#2b2002",
    )  # fmt: skip
