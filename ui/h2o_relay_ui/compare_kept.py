"""Earlier comparisons of a tab: opened again, and deleted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from h2o_relay.errors import RelayError

from .compare_events import QUICK, Desk
from .comparison import Comparison

EARLIER = ("Earlier", "")
UNTITLED = "Untitled"
LIMIT = 100  # that can be chosen from
SURE = "Delete this for good?"


@dataclass(slots=True)
class KeptParts:
    earlier: gr.Dropdown
    delete: gr.Button
    sure: gr.Row
    really: gr.Button
    keep: gr.Button


def chooser(prefix: str) -> gr.Dropdown:
    """Among the tools, where the page is being built."""
    return gr.Dropdown(
        [EARLIER], value="", label="Earlier", show_label=False, container=False, interactive=True,
        elem_id=f"{prefix}-earlier", elem_classes="at-earlier", min_width=0, filterable=False,
    )  # fmt: skip


def deleter(prefix: str) -> gr.Button:
    """Likewise, at their end."""
    return gr.Button(
        "Delete", size="sm", min_width=0, elem_id=f"{prefix}-delete", elem_classes="at-delete"
    )


def parts(prefix: str, earlier: gr.Dropdown, delete: gr.Button) -> KeptParts:
    """Below the tools."""
    with gr.Row(visible=False, elem_id=f"{prefix}-sure", elem_classes="at-sure") as sure:
        gr.Markdown(SURE, container=False)
        really = gr.Button("Delete", size="sm", min_width=0, variant="stop",
                           elem_id=f"{prefix}-delete-really")  # fmt: skip
        keep = gr.Button("Keep", size="sm", min_width=0, elem_id=f"{prefix}-keep")
    return KeptParts(earlier, delete, sure, really, keep)


class Kept:
    """The events."""

    def __init__(self, desk: Desk, parts: KeptParts) -> None:
        self._desk = desk
        self.parts = parts

    def wire(self) -> None:
        parts, desk = self.parts, self._desk
        place, screen = desk.parts.place, desk.screen
        parts.earlier.focus(self.listed, None, [parts.earlier], **QUICK)
        parts.earlier.input(
            self.open, [place, parts.earlier], [parts.earlier, *screen], **QUICK
        )  # fmt: skip
        parts.delete.click(self.ask, None, [parts.sure], **QUICK)
        parts.keep.click(self.hide, None, [parts.sure], **QUICK)
        parts.really.click(self.delete, [place], [parts.sure, *screen], **QUICK)

    async def listed(self, request: gr.Request) -> Any:
        """The owner's, the newest first."""
        try:
            found = await self._desk.comparisons().summaries(self._desk.owner(request), LIMIT)
        except RelayError:
            return gr.skip()  # what is wrong is said when something is done
        choices = [(summary.title or UNTITLED, summary.id) for summary in found]
        return gr.update(choices=[EARLIER, *choices], value="")

    async def open(self, request: gr.Request, place: Any, id: str | None) -> list[Any]:
        return [gr.update(choices=[EARLIER], value=""), *await self._desk.open(request, place, id)]

    async def ask(self) -> Any:
        return gr.update(visible=True)

    async def hide(self) -> Any:
        return gr.update(visible=False)

    async def delete(self, request: gr.Request, place: Any) -> list[Any]:
        gone: dict[str, Any] = {}

        async def work(owner: str, found: Comparison) -> None:
            if found.id:
                await self._desk.comparisons().delete(owner, found.id)
            gone.update(id="", setup=found.setup.as_json())

        told = await self._desk.do(request, place, work)
        if gone:
            told = await self._desk.fresh(request, gone)
        return [gr.update(visible=False), *told]
