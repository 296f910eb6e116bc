"""What the chat tab does: which event draws what.

The page holds the id of its conversation and nothing else; everything is drawn from the store and
the running turns. So a page that is reloaded, or opened twice, shows the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import gradio as gr

from . import images, options, uploads
from .chat_drawing import READY, Drawing, Updates, Work
from .chat_following import Following
from .chat_layout import Parts
from .chats import NEW, NEW_TEMPORARY, Chats
from .context import Context, GetContext
from .conversation import images_of, text_of
from .conversations_panel import Panel
from .shelf import is_temporary
from .watching import QUICK

LIST_WAIT = 3.0  # seconds that a page waits for the first list of models
CHAT = "chat"
TEMPORARY = "temporary chats"
IMAGES_GONE = "The question's images have to be added again."


class ChatEvents:
    """The events of the chat tab, and those of the sidebar that open another conversation."""

    def __init__(self, context: GetContext, parts: Parts, panel: Panel) -> None:
        self._context = context
        self._draw = Drawing(context, parts, panel)
        self.parts = parts
        self.panel = panel
        self.remembered = gr.BrowserState("", storage_key="h2o-relay-model", secret="h2o-relay")
        """The latest model that was chosen. The secret is none: it is the browser's own."""
        self.lists = [*panel.days, panel.nothing]
        self.screen = [
            parts.id, parts.turn, parts.asked, parts.marker, parts.model, parts.banner,
            parts.thread, parts.notice, parts.box, parts.meter, *parts.options, parts.timer,
            *self.lists, panel.this, panel.title, panel.sure, panel.delete, panel.notice,
        ]  # fmt: skip
        self.following = Following(context, self._draw, parts, self.lists)
        self.watching: Any = None
        """The event in which the page follows an answer."""

    def wire(self, page: gr.Blocks, tabs: gr.Tabs) -> None:
        """`tabs` has a tab `CHAT`, to which whoever opens a conversation is led."""
        parts, panel = self.parts, self.panel
        self.watching = self.following.wire(panel.search)
        page.load(self.load, [self.remembered], self.screen, **{**QUICK, "preprocess": True})
        asked = [panel.search, parts.id, parts.model, *parts.options]
        asks: dict[str, Any] = {"outputs": self.screen, **QUICK}
        again = [parts.thread.retry, parts.thread.option_select]
        for asking in (
            parts.box.submit(self.send, [parts.box, *asked], **asks),
            gr.on(again, self.again, asked, **asks),
            parts.thread.edit(self.edit, asked, **asks),
        ):
            self._draw_rest(asking)
        parts.thread.undo(self.undo, asked, **asks)
        parts.box.stop(self.stop, [parts.id], None, **QUICK)
        place = [panel.search, parts.model]
        opens = {**asks, "outputs": [*self.screen, tabs]}
        for radio in panel.days:
            self.leaving(radio.input)
            radio.input(leading(tabs, self.open), [radio, *place], **opens)
        for button, new in ((panel.fresh, NEW), (panel.temporary, NEW_TEMPORARY)):
            self.leaving(button.click)
            button.click(leading(tabs, self.begin(new)), place, **opens)
        self._wire_models()
        page.unload(self.leave)

    def _draw_rest(self, asking: Any) -> None:
        """Behind an event that asks: what it leaves for later."""
        parts, panel = self.parts, self.panel
        later = [
            parts.turn, parts.meter, parts.box, parts.notice, *self.lists, panel.this,
            panel.title, panel.sure, panel.delete, panel.notice,
        ]  # fmt: skip
        asking.then(self.rest, [parts.id, panel.search, parts.asked], later, **QUICK)

    def leaving(self, trigger: Any) -> None:
        """The page is about to show another conversation. To be wired before what draws that one:
        Gradio cancels last what is cancelled in the same breath.
        """
        trigger(None, None, None, cancels=self.watching, **QUICK)

    def _wire_models(self) -> None:
        parts = self.parts
        changed = [self.remembered, parts.box, parts.meter, parts.notice]
        given = [parts.id, parts.model, *parts.options]
        parts.model.input(self.chosen, given, changed, **QUICK)
        seen = [parts.model, parts.timer, parts.thread]
        gr.on([parts.model.focus, parts.timer.tick], self.look, [parts.model], seen, **QUICK)

    # Opening.

    async def load(self, request: gr.Request, remembered: Any) -> Updates:
        """The page as it is opened; its address may name a conversation."""
        relay = self._context().relay
        if not relay.models():
            await relay.settled(LIST_WAIT)
        id = str(request.query_params.get("c") or NEW)
        model = remembered if type(remembered) is str else None
        usable = {self.parts.box: gr.update(interactive=True)}  # whatever else fails
        return {**usable, **await self.open(request, id, "", model)}

    async def open(
        self, request: gr.Request, id: str | None, search: str | None, model: str | None
    ) -> Updates:
        async def work(_: Context, chats: Chats) -> Updates:
            chat = await chats.open(id) if id else None
            return await self._draw.conversation(request, chat, id or NEW, model, search)

        updates = await self._draw.guarded(request, work)
        if self.parts.id in updates or not id:
            return updates
        empty = await self.begin(NEW)(request, search, model)
        return {**empty, **updates}  # it is not there: a new chat, and why

    def begin(self, id: str) -> Callable[..., Awaitable[Updates]]:
        """A new chat of one of the two kinds."""

        async def new(request: gr.Request, search: str | None, model: str | None) -> Updates:
            async def work(_: Context, __: Chats) -> Updates:
                draw = self._draw.conversation
                return await draw(request, None, id, model, search, clear=True)

            return await self._draw.guarded(request, work)

        return new

    # Asking.

    async def send(
        self, request: gr.Request, given: Any, search: str | None, id: str, model: str | None,
        *values: Any,
    ) -> Updates:  # fmt: skip
        given = given if isinstance(given, dict) else {}
        text, files = str(given.get("text") or ""), given.get("files") or []
        if not text.strip() and not files:
            return {self.parts.asked: ""}

        async def work(context: Context, chats: Chats) -> Updates:
            paths = uploads.paths_of(files)
            pictures = await asyncio.to_thread(images.read, paths)
            chat = await chats.ask(id or NEW, text, pictures, model, options.texts_of(values))
            await asyncio.to_thread(images.forget, paths)
            if is_temporary(chat.id):
                held = context.extra.setdefault(TEMPORARY, {})
                held.setdefault(request.session_hash, set()).add((chat.owner, chat.id))
            return self._draw.asked(chat, clear=True)

        return await self._asking(request, work)

    async def again(
        self, request: gr.Request, search: str | None, id: str, model: str | None, *values: Any
    ) -> Updates:
        async def work(_: Context, chats: Chats) -> Updates:
            return self._draw.asked(await chats.again(id, model, options.texts_of(values)))

        return await self._asking(request, work)

    async def edit(
        self, request: gr.Request, event: gr.EditData, search: str | None, id: str,
        model: str | None, *values: Any,
    ) -> Updates:  # fmt: skip
        row = event.index if isinstance(event.index, int) else -1
        before, text = str(event.previous_value), str(event.value)

        async def work(_: Context, chats: Chats) -> Updates:
            chat = await chats.edit(id, row, before, text, model, options.texts_of(values))
            return self._draw.asked(chat)

        updates = await self._asking(request, work)
        if self.parts.thread not in updates:  # the browser shows what was not taken over
            updates = {**await self.open(request, id, search, model), **updates}
        return updates

    async def _asking(self, request: gr.Request, work: Work) -> Updates:
        """What `work` draws; where it fails, why, and that nothing was asked."""
        return {self.parts.asked: "", **await self._draw.guarded(request, work)}

    async def rest(self, request: gr.Request, id: str, search: str | None, asked: str) -> Updates:
        """What an event that asks has left for later. The first words are drawn by now, so there is
        time for all else, and for the words after them.
        """

        async def work(_: Context, chats: Chats) -> Updates:
            chat = await chats.open(id)
            model = chat.settings.get("model")
            updates = await self._draw.around(request, chat, id, model, search)
            return {**updates, self.parts.box: gr.update(sources=self._draw.sources(model))}

        if not asked:
            return {self.parts.turn: gr.skip()}  # to Gradio {} is no answer at all
        updates = await self._draw.guarded(request, work)
        if self.parts.meter in updates:
            updates.pop(self.parts.notice)  # nothing is to be said
        return {**updates, self.parts.turn: asked}

    async def undo(
        self, request: gr.Request, search: str | None, id: str, model: str | None, *values: Any
    ) -> Updates:
        async def work(_: Context, chats: Chats) -> Updates:
            chat, question = await chats.undo(id)
            updates = await self._draw.conversation(request, chat, id, model, search)
            if question is not None:
                for field in self.parts.options:  # what was written there since is not lost
                    updates.pop(field)
                text = {"text": text_of(question), "files": []}
                updates[self.parts.box] = gr.update(**READY, value=text)
                updates |= self._draw.told(IMAGES_GONE if images_of(question) else "")
            return updates

        return await self._draw.guarded(request, work)

    async def stop(self, request: gr.Request, id: str) -> None:
        context = self._context()
        Chats(context, context.user(request).owner).stop(id)

    # Models.

    async def look(self, request: gr.Request, model: str | None) -> Updates:
        return self._draw.models(request, model)

    async def chosen(
        self, request: gr.Request, id: str, model: str | None, *values: Any
    ) -> Updates:
        """Another model for this chat and for the next one."""

        async def work(context: Context, chats: Chats) -> Updates:
            parts, draw = self.parts, self._draw
            chat = await chats.choose(id, model) if id not in (NEW, NEW_TEMPORARY) else None
            texts = {"options": options.texts_of(values)}
            meter = draw.meter(chat.messages if chat else [], model, texts)
            return {parts.meter: meter, parts.box: gr.update(sources=draw.sources(model))}

        updates = await self._draw.guarded(request, work)
        updates.pop(self.parts.notice, None)
        return {**updates, self.remembered: model or ""}

    # Leaving.

    async def leave(self, request: gr.Request) -> None:
        """The page was closed: its temporary chats end, and the others' answers go on."""
        context = self._context()
        held = context.extra.get(TEMPORARY, {}).pop(request.session_hash, set())
        for owner, id in held:
            await context.turns.stop(owner, id)
            await context.turns.shelf.delete(owner, id)


def leading(tabs: gr.Tabs, draw: Callable[..., Awaitable[Updates]]) -> Callable[..., Any]:
    """What `draw` does, and the chat tab is turned to."""

    async def drawn(request: gr.Request, *given: Any) -> Updates:
        return {**await draw(request, *given), tabs: gr.update(selected=CHAT)}

    return drawn
