"""The chat tab and the sidebar without a browser: their events called as Gradio calls them, what
they answer taken as a browser takes it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from h2o_relay_ui.context import Context, User
from h2o_relay_ui.options import FIELDS

from .fakes import FakeRelay
from .kit import ME, talk

CONTEXT: list[Context] = []
"""That of the page which is open."""
EMPTY = [""] * len(FIELDS)


@dataclass
class Page:
    """One open page: what its components hold, by the names of `Parts` and `Panel`."""

    context: Context
    user: str = ME
    session: str = "session"
    shown: dict[str, dict[str, Any]] = field(default_factory=dict)
    options: list[str] = field(default_factory=lambda: list(EMPTY))

    @property
    def chat(self) -> Any:
        return built()[0]

    @property
    def panel(self) -> Any:
        return built()[1]

    def request(self, **more: Any) -> Any:
        usual = {"session_hash": self.session, "query_params": {}, "cookies": {}, "who": self.user}
        return SimpleNamespace(**{**usual, **more})

    def take(self, updates: dict[Any, Any]) -> None:
        for part, value in updates.items():
            update = value if isinstance(value, dict) and "__type__" in value else {"value": value}
            if part in self.chat.parts.options:
                self.options[self.chat.parts.options.index(part)] = update["value"]
            self.shown.setdefault(names()[part], {}).update(update)

    def value(self, name: str) -> Any:
        return self.shown.get(name, {}).get("value")

    def sees(self, name: str) -> bool:
        return bool(self.shown.get(name, {}).get("visible"))

    @property
    def id(self) -> str:
        return str(self.value("id") or "")

    def texts(self) -> list[str]:
        """The thread's rows, without the backslashes that escape markup."""
        parts = [part for row in self.value("thread") or () for part in row["content"]]
        return [part.get("text", part["type"]).replace("\\", "") for part in parts]

    def listed(self) -> list[str]:
        """The titles in the sidebar."""
        days = [self.shown.get(f"days{n}", {}) for n in range(3)]
        return [title for day in days for title, _ in day.get("choices") or ()]

    def asked(self) -> list[Any]:
        return ["", self.id, self.value("model"), *self.options]

    async def load(self, model: str = "", **query: str) -> None:
        self.take(await self.chat.load(self.request(query_params=query), model))
        await self.follow()

    async def send(self, text: str, *files: Any) -> None:
        given = {"text": text, "files": list(files)}
        await self.asking(self.chat.send(self.request(), given, *self.asked()))

    async def asking(self, event: Awaitable[dict[Any, Any]]) -> None:
        """One of the events that ask, and what Gradio does then."""
        self.take(await event)
        rest = self.chat.rest(self.request(), self.id, "", self.value("asked"))
        self.take(await rest)

    async def ask(self, text: str) -> None:
        await self.send(text)
        await self.follow()

    async def follow(self) -> None:
        """Watch what is coming to its end, and what Gradio does then."""
        watch = self.chat.following.watch(self.request(), self.id, self.value("turn"))
        async with aclosing(watch) as seen:
            async for rows in seen:
                if isinstance(rows, list):
                    self.take({self.chat.parts.thread: rows})
        notice = self.value("notice")
        self.take(await self.chat.following.settle(self.request(), self.id, "", notice))


@lru_cache(maxsize=1)
def built() -> tuple[Any, Any]:
    """The events of tab and sidebar: they hold nothing of a page's, and take long to be built."""
    import gradio as gr

    from h2o_relay_ui import chat_tab, conversations_panel
    from h2o_relay_ui.panel_events import PanelEvents

    with gr.Blocks(analytics_enabled=False) as page:
        panel = conversations_panel.layout()
        with gr.Tabs() as tabs, gr.Tab("Chat", id="chat"):
            chat = chat_tab.build(lambda: CONTEXT[0], panel)
        chat.wire(page, tabs)
        events = PanelEvents(lambda: CONTEXT[0], chat)
        events.wire()
    return chat, events


@lru_cache(maxsize=1)
def names() -> dict[Any, str]:
    chat, _ = built()
    found: dict[Any, str] = {chat.remembered: "remembered"}
    for holder in (chat.panel, chat.parts):
        for field_name in holder.__dataclass_fields__:
            part = getattr(holder, field_name)
            name = "panel_notice" if part is chat.panel.notice else field_name
            if isinstance(part, list):
                found |= {each: f"{name}{n}" for n, each in enumerate(part)}
            elif isinstance(part, dict):
                found |= {each: f"{name}-{key}" for key, each in part.items()}
            else:
                found[part] = name
    return found


@asynccontextmanager
async def opened(relay: FakeRelay, **query: str) -> AsyncIterator[Page]:
    """A page that was just opened over the relay."""
    async with talk(relay) as one:
        context = one.context
        context.user = lambda request: User(owner=request.who)
        CONTEXT[:] = [context]
        page = Page(context)
        await page.load(**query)
        yield page
