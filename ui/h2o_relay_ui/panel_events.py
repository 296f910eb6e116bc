"""What the sidebar does besides opening conversations: search, rename, delete, export, import."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import gradio as gr

from h2o_relay.errors import InvalidRequest

from . import exporting, images, importing, uploads
from .chat_drawing import Updates, outcome
from .chat_events import ChatEvents
from .chats import NEW
from .context import Context, GetContext
from .conversation import escaped
from .conversations_panel import Panel, listed, lists, zone_of
from .watching import QUICK
from .words import counted, text

LEFT_OUT = "{} that this page has no place for {} left out."
LONGEST_TITLE = 200  # characters


class PanelEvents:
    """The sidebar of a page whose chat tab is `chat`."""

    def __init__(self, context: GetContext, chat: ChatEvents) -> None:
        self._context = context
        self._chat = chat
        self._panel: Panel = chat.panel
        self._id = chat.parts.id

    def wire(self) -> None:
        panel, chat = self._panel, self._chat
        place = [self._id, panel.search]
        told = [*chat.lists, panel.notice]
        # Gradio's `input` is a key that was pressed: it misses what is pasted or deleted.
        panel.search.change(self.find, place, told, trigger_mode="always_last", **QUICK)
        gr.on([panel.rename.click, panel.title.submit], self.rename,
              [panel.title, *place], told, **QUICK)  # fmt: skip
        sure = [panel.sure, panel.delete]
        panel.delete.click(asking(True), None, sure, **QUICK)
        panel.keep.click(asking(False), None, sure, **QUICK)
        chat.leaving(panel.really.click)
        panel.really.click(
            self.delete, [*place, chat.parts.model], chat.screen,
            **QUICK,
        )  # fmt: skip
        for kind, button in panel.exports.items():
            button.click(self.export(kind), [self._id], [panel.file, panel.file_name,
                         panel.notice], **QUICK)  # fmt: skip
        panel.load.upload(self.load, [panel.load, *place], told, **QUICK)

    async def find(self, request: gr.Request, id: str, search: str | None) -> Updates:
        async def work(context: Context, owner: str) -> Updates:
            return await self._lists(request, id, search)

        return await self._guarded(request, work)

    async def rename(
        self, request: gr.Request, title: str | None, id: str, search: str | None
    ) -> Updates:
        async def work(context: Context, owner: str) -> Updates:
            words = " ".join((title or "").split())[:LONGEST_TITLE]
            if not words:
                raise InvalidRequest("A title cannot be empty.")
            await context.turns.shelf.save(owner, id, title=words)
            return await self._lists(request, id, search)

        return await self._guarded(request, work)

    async def delete(
        self, request: gr.Request, id: str, search: str | None, model: str | None
    ) -> Updates:
        """Delete the open conversation, its running answer with it, and begin a new one."""

        async def work(context: Context, owner: str) -> Updates:
            await context.turns.stop(owner, id)
            await context.turns.shelf.delete(owner, id)
            return await self._chat.begin(NEW)(request, search, model)

        return await self._guarded(request, work)

    def export(self, kind: exporting.Kind) -> Callable[..., Awaitable[Updates]]:
        async def save(request: gr.Request, id: str) -> Updates:
            async def work(context: Context, owner: str) -> Updates:
                chat = await context.turns.shelf.get(owner, id)
                name = exporting.file_name(chat, kind)
                # The number makes a second click a change, which the page's script waits for.
                mark = f'<span data-file="{text(name)}" data-at="{time.time_ns()}"></span>'
                return {self._panel.file: exporting.exported(chat, kind),
                        self._panel.file_name: mark}  # fmt: skip

            return await self._guarded(request, work)

        return save

    async def load(self, request: gr.Request, file: Any, id: str, search: str | None) -> Updates:
        """Take the conversations of a file over."""

        async def work(context: Context, owner: str) -> Updates:
            paths = uploads.paths_of([file])
            try:
                data = await asyncio.to_thread(_contents, paths[0])
            finally:
                await asyncio.to_thread(images.forget, paths)
            found = await asyncio.to_thread(importing.read, data)
            for one in reversed(found):  # so that the first is the newest
                await context.conversations.create(
                    owner, title=one.title, settings=one.settings, messages=one.messages
                )
            left_out = sum(one.left_out for one in found)
            line = f"{counted(len(found), 'chat')} imported."
            if left_out:
                told = counted(left_out, "message")
                line += " " + LEFT_OUT.format(told, "was" if left_out == 1 else "were")
            return {**await self._lists(request, id, search), **self._told(line)}

        return await self._guarded(request, work)

    async def _lists(self, request: gr.Request, id: str, search: str | None) -> Updates:
        context = self._context()
        found = await listed(
            context.conversations, context.user(request).owner, search or "", time.time(),
            zone_of(request.cookies),
        )  # fmt: skip
        return dict(lists(self._panel, found, id, search or ""))

    async def _guarded(
        self, request: gr.Request, work: Callable[[Context, str], Awaitable[Updates]]
    ) -> Updates:
        async def done() -> Updates:
            context = self._context()
            return await work(context, context.user(request).owner)

        updates, problem = await outcome(done())
        return {**self._told(problem), **updates}

    def _told(self, line: str) -> Updates:
        return {self._panel.notice: gr.update(value=escaped(line), visible=bool(line))}


def asking(on: bool) -> Callable[[], Awaitable[tuple[Any, Any]]]:
    """Ask whether to delete, or take the question back."""

    async def ask() -> tuple[Any, Any]:
        return gr.update(visible=on), gr.update(visible=not on)

    return ask


def _contents(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(importing.LARGEST + 1)
