"""The system tab: versions, plugins, settings, charts and the log, for the relay's operator.

With an admin password (ADMIN_PASS) it opens to whoever gives it, for as long as their page is
open; without one it is open where only this machine is served, and closed elsewhere.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gradio as gr

from h2o_relay.admin import Series, System
from h2o_relay.errors import RelayError

from . import charts, system_rows, usage_view
from .context import Context, GetContext
from .live import Shared
from .models_layout import html
from .models_rows import problem
from .password_gate import access, gate
from .watching import QUICK, SLOW, Props, news, watch

CSS = Path(__file__).with_name("system.css")
PACE = 5.0  # seconds between looks, as long as the charts' intervals
FRESH = 2.0  # seconds for which all pages share what was fetched
KEYS = ("system", "series")
CLOSED = (
    "This tab shows how the relay is set up. To open it on a relay that others can reach, set an "
    "admin password: start it with ADMIN_PASS in the environment."
)
WRONG = "This is not the admin password."
PARTS = ("facts", "charts", "usage", "plugins", "settings", "log")
TITLES = {"facts": "", "charts": "Last minutes", "usage": "Usage by key",
          "plugins": "Plugins", "settings": "Settings", "log": "Log"}  # fmt: skip
Updates = dict[Any, Any]


def build(context: GetContext) -> None:
    """Put the tab where the page is being built."""
    SystemTab(context).wire()


class SystemTab:
    """The password's field, and what is behind it."""

    def __init__(self, context: GetContext) -> None:
        self._context = context
        self._unlocked = gr.State(False)
        self._shown = gr.State(None)
        self._beat = gr.Textbox(visible="hidden", elem_id="system-beat")
        with gr.Column(elem_id="system"):
            self._parts: dict[str, Any] = {"note": html("system-note")}
            with gr.Row(elem_id="system-lock", visible=False) as lock:
                self._password = gr.Textbox(
                    label="Admin password", type="password", max_lines=1, elem_id="system-password"
                )
                self._open = gr.Button("Open", size="sm", elem_id="system-open", min_width=80)
            with gr.Column(elem_id="system-content", visible=False) as content:
                for name in PARTS:
                    if name == "usage":
                        self._span = span()
                    elif TITLES[name]:
                        html(f"system-title-{name}", heading(name))
                    self._parts[name] = html(f"system-{name}")
            self._parts |= {"lock": lock, "content": content}

    def wire(self) -> None:
        asked = [self._unlocked, self._shown, self._span]
        told = [*self._parts.values(), self._shown]
        watch(PACE, self.beat, [self._unlocked, self._span], [self._beat])
        self._beat.change(self.render, asked, told, **QUICK)
        self._span.input(self.render, asked, told, **QUICK)
        gr.on(
            [self._open.click, self._password.submit], self.unlock, [self._password],
            [self._unlocked, self._password, self._parts["note"]], **SLOW,
        ).then(self.render, asked, told, **QUICK)  # fmt: skip

    async def unlock(self, password: str) -> Updates:
        context = self._context()
        if await gate(context).admits(context.settings, password or ""):
            return {self._unlocked: True, self._password: "", self._parts["note"]: ""}
        return {self._unlocked: False, self._parts["note"]: problem(WRONG)}

    async def beat(self, unlocked: bool, span: str = usage_view.USUAL) -> str:
        return f"{hash(repr(await self._wanted(unlocked, span))):x}"

    async def render(
        self, unlocked: bool, shown: dict[str, Props] | None, span: str = usage_view.USUAL
    ) -> Updates:
        wanted = await self._wanted(unlocked, span)
        changed = news(shown or {}, wanted)
        updates = {self._parts[name]: gr.update(**props) for name, props in changed.items()}
        return {**updates, self._shown: wanted}

    async def _wanted(self, unlocked: bool, span: str) -> dict[str, Props]:
        """What each part is to show; nothing of the relay where it may not be seen."""
        context = self._context()
        kind = access(context.settings)
        if kind == "closed":
            return {"note": {"value": f"<div>{CLOSED}</div>"}}
        if kind == "password" and not unlocked:
            return {"lock": {"visible": True}, "content": {"visible": False}}
        try:
            system, series = await fetched(context)
        except RelayError as error:
            return {"note": {"value": problem(error.message)}, "lock": {"visible": False}}
        props: dict[str, Props] = {
            "note": {"value": ""}, "lock": {"visible": False}, "content": {"visible": True},
        }  # fmt: skip
        parts = drawn(system, series) | {"usage": await usage_view.usage(context, span)}
        return props | {name: {"value": value} for name, value in parts.items()}


def heading(name: str) -> str:
    """A part's."""
    return f'<h3 class="system-h">{TITLES[name]}</h3>'


def span() -> Any:
    """The usage's heading, and beside it what time is shown."""
    with gr.Row(elem_id="system-usage-head"):
        html("system-title-usage", heading("usage"))
        return gr.Radio(
            [(label, value) for value, label in usage_view.SPANS.items()], value=usage_view.USUAL,
            label="Time", show_label=False, container=False, elem_id="system-span",
        )  # fmt: skip


def drawn(system: System, series: list[Series]) -> dict[str, str]:
    """The parts' HTML."""
    now = time.time()
    figures, left_out = charts.charts(series, now)
    return {
        "facts": system_rows.facts(system, now),
        "charts": f'{charts.legend(figures[0], left_out)}<div class="system-charts">'
        f"{''.join(charts.drawn(each) for each in figures)}</div>",
        "plugins": system_rows.plugins(system.plugins),
        "settings": system_rows.settings(system.settings),
        "log": system_rows.log(system.log),
    }


async def fetched(context: Context) -> tuple[System, list[Series]]:
    """What the relay tells of itself, fetched once for all pages. Raises RelayError."""
    relay, extra = context.relay, context.extra
    if KEYS[0] not in extra:
        extra[KEYS[0]], extra[KEYS[1]] = Shared(relay.system, FRESH), Shared(relay.series, FRESH)
    return await extra[KEYS[0]].get(), list(await extra[KEYS[1]].get())
