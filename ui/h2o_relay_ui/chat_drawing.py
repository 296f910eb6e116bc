"""How a conversation becomes the chat tab's components and the sidebar's lists."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import gradio as gr

from h2o_relay.admin import DeploymentView
from h2o_relay.errors import NotFound, RelayError
from h2o_relay.store import Conversation

from . import chat_view as view
from . import conversations_panel as sidebar
from . import options
from .chat_layout import Parts
from .chats import Chats, problem
from .context import Context, GetContext
from .conversation import escaped
from .conversations_panel import Panel
from .shelf import MISSING, is_temporary
from .showing import shown
from .thread import Message

FAULT = "The page failed. Its log says why."
READY = {"submit_btn": True, "stop_btn": False}
BUSY = {"submit_btn": False, "stop_btn": True}
"""What the box offers: to send, or to stop the answer that is coming."""
Updates = dict[Any, Any]
Work = Callable[[Context, Chats], Awaitable[Updates]]
log = logging.getLogger(__name__)


class Drawing:
    """Updates for the components of one page."""

    def __init__(self, context: GetContext, parts: Parts, panel: Panel) -> None:
        self._context = context
        self.parts = parts
        self.panel = panel

    async def guarded(self, request: gr.Request, work: Work) -> Updates:
        """What `work` draws for this user; where it fails, why, and nothing else."""

        async def done() -> Updates:
            context = self._context()
            return await work(context, Chats(context, context.user(request).owner))

        updates, problem = await outcome(done())
        return {**self.told(problem), **updates}

    def told(self, line: str) -> Updates:
        """A line above the box, none for ""."""
        return {self.parts.notice: gr.update(value=escaped(line), visible=bool(line))}

    async def conversation(
        self, request: gr.Request, chat: Conversation | None, id: str, model: str | None,
        search: str | None, *, clear: bool = False,
    ) -> Updates:  # fmt: skip
        """Everything for a conversation, or for a new one: the thread, what surrounds it and the
        lists. `clear` empties the box.
        """
        context, parts = self._context(), self.parts
        views = context.offered(context.user(request).owner)
        settings = chat.settings if chat else {}
        chosen = settings.get("model") or view.first_choice(views, model)
        messages = chat.messages if chat else []
        last = messages[-1] if messages else {}
        busy = last.get("state") == "running"
        updates: Updates = {
            parts.id: id,
            parts.turn: last["id"] if busy else "",
            parts.marker: marker(id),
            parts.model: gr.update(choices=view.choices(views, chosen), value=chosen),
            parts.banner: gr.update(visible=is_temporary(id)),
            parts.thread: gr.update(value=shown(messages), placeholder=self.placeholder(views)),
            parts.box: gr.update(
                **self.box(view.view_of(views, chosen), busy=busy),
                **({"value": None} if clear else {}),
            ),
            parts.timer: gr.update(active=not any(v.name for v in views)),
        }
        values = options.values_of(view.options_of(settings))
        updates |= dict(zip(parts.options, values, strict=True))
        return updates | await self.around(request, chat, id, chosen, search)

    def asked(self, chat: Conversation, *, clear: bool = False) -> Updates:
        """What shows a question and as much of its answer as there is: the less a browser draws
        with them, the sooner they are seen. `around` draws what is left out here.
        """
        parts, last = self.parts, chat.messages[-1]
        updates: Updates = {
            parts.id: chat.id,
            parts.asked: last["id"],
            parts.marker: marker(chat.id),
            parts.thread: shown(chat.messages),
            parts.box: gr.update(**BUSY, **({"value": None} if clear else {})),
        }
        if not (last["content"] or last["reasoning"]):  # nothing is seen before it is followed
            updates[parts.turn] = last["id"]
        return updates

    async def around(
        self, request: gr.Request, chat: Conversation | None, id: str, model: str | None,
        search: str | None,
    ) -> Updates:  # fmt: skip
        """What surrounds a thread, and the lists. Raises StoreError."""
        parts, panel = self.parts, self.panel
        messages, settings = (chat.messages, chat.settings) if chat else ([], {})
        updates: Updates = {
            parts.meter: self.meter(messages, model, settings),
            panel.this: gr.update(visible=chat is not None, open=False),
            panel.title: chat.title if chat else "",
            panel.sure: gr.update(visible=False),
            panel.delete: gr.update(visible=True),
            panel.notice: gr.update(visible=False),
        }
        return updates | await self.lists(request, id, search)

    async def lists(self, request: gr.Request, id: str, search: str | None) -> Updates:
        """The sidebar's lists as they are now. Raises StoreError."""
        context = self._context()
        found = await sidebar.listed(
            context.conversations, context.user(request).owner, search or "", time.time(),
            sidebar.zone_of(request.cookies),
        )  # fmt: skip
        return dict(sidebar.lists(self.panel, found, id, search or ""))

    def models(self, request: gr.Request, chosen: str | None) -> Updates:
        """The models as they are now. What is chosen stays: by the time that this arrives it may
        be another.
        """
        context = self._context()
        views = context.offered(context.user(request).owner)
        first = {} if chosen else {"value": view.first_choice(views)}
        return {
            self.parts.model: gr.update(choices=view.choices(views, chosen), **first),
            self.parts.timer: gr.update(active=not any(v.name for v in views)),
            self.parts.thread: gr.update(placeholder=self.placeholder(views)),
        }

    def placeholder(self, views: Sequence[DeploymentView]) -> str:
        some = any(v.name for v in views)
        return view.empty("" if some else escaped(problem(self._context())))

    def box(self, known: DeploymentView | None, *, busy: bool) -> dict[str, Any]:
        """What the box offers with this model."""
        return {**(BUSY if busy else READY), "sources": sources(known), "interactive": True}

    def sources(self, model: str | None) -> list[str]:
        return sources(view.view_of(self._context().relay.deployments(), model))

    def meter(self, messages: Sequence[Message], model: str | None, settings: Any) -> str:
        known = view.view_of(self._context().relay.deployments(), model)
        return view.meter(view.fill(messages, known, view.options_of(settings)))


def marker(id: str) -> str:
    """What says in the address which conversation is open; a temporary one is not named there."""
    return view.marker("" if is_temporary(id) else id)


def sources(known: DeploymentView | None) -> list[str]:
    """Where the box takes files from: none for models of which it is known that they see none."""
    return [] if known is not None and known.vision is False else ["upload"]


async def outcome(work: Awaitable[Updates]) -> tuple[Updates, str]:
    """What `work` draws, and ""; or nothing, and why it failed."""
    try:
        return await work, ""
    except NotFound:
        return {}, MISSING
    except RelayError as error:
        return {}, error.message
    except Exception:
        log.exception("the chat page failed")
        return {}, FAULT
