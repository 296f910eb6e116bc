"""How an open page follows the answer that is coming in its chat, to the end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import gradio as gr

from h2o_relay.errors import RelayError

from .chat_drawing import READY, Drawing, Updates
from .chat_layout import Parts
from .chats import BUSY, NEW, NEW_TEMPORARY, Chats
from .context import Context, GetContext
from .conversation import escaped
from .showing import rows, shown
from .thread import place_of
from .turns import PACE
from .watching import QUICK

WATCH: dict[str, Any] = {
    "api_visibility": "private", "preprocess": False, "postprocess": False,
    "show_progress": "hidden", "concurrency_limit": None,
}  # fmt: skip
"""Its progress, which is not shown, is what Gradio greys the thread's buttons by meanwhile."""


class Following:
    """The events of a page that follow an answer. `lists` are those of the sidebar."""

    def __init__(
        self, context: GetContext, draw: Drawing, parts: Parts, lists: Sequence[Any]
    ) -> None:
        self._context = context
        self._draw = draw
        self._lists = lists
        self.parts = parts

    def wire(self, search: gr.Textbox) -> Any:
        """The event in which the page follows an answer."""
        parts = self.parts
        watching: Any = parts.turn.change(
            self.watch, [parts.id, parts.turn], [parts.thread], trigger_mode="multiple", **WATCH
        )
        around = [parts.box, parts.meter, parts.notice, *self._lists]
        watching.then(self.settle, [parts.id, search, parts.notice], around, **QUICK)
        return watching

    async def watch(self, request: gr.Request, id: str, coming: str) -> AsyncGenerator[Any, None]:
        """The thread as its answer grows; Gradio sends what differs from the last."""
        if not coming:
            yield gr.skip()
            return
        context = self._context()
        chats = Chats(context, context.user(request).owner)
        turn = chats.turn(id)
        try:
            messages = (await chats.open(id)).messages if id else []
        except RelayError:
            yield gr.skip()  # whatever drew the page says so
            return
        if turn is None:  # it has ended already
            yield shown(messages)
            return
        found = place_of(messages, turn.message["id"])
        place = len(messages) if found is None else found
        before, after = shown(messages[:place]), shown(messages[place + 1 :])
        async with aclosing(turn.updates(PACE)) as updates:
            async for _ in updates:
                yield [*before, *rows(turn.message), *after]

    async def settle(
        self, request: gr.Request, id: str, search: str | None, notice: str | None
    ) -> Updates:
        """What changes around the thread when an answer has ended."""

        async def work(_: Context, chats: Chats) -> Updates:
            turn = chats.turn(id)
            updates = await self._draw.lists(request, id, search)
            if turn is not None and turn.running:
                return updates
            updates[self.parts.box] = gr.update(**READY)
            if id not in (NEW, NEW_TEMPORARY):
                chat = await chats.open(id)
                model = chat.settings.get("model")
                updates[self.parts.meter] = self._draw.meter(chat.messages, model, chat.settings)
            return updates

        updates = await self._draw.guarded(request, work)
        if self._lists[0] in updates and notice != escaped(BUSY):
            updates.pop(self.parts.notice)  # what was said of something else stays
        return updates
