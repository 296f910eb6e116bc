"""Comparisons over a fake relay, with a store in memory; and the tab's events without a browser."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from h2o_relay.store import Conversations, Store, Votes
from h2o_relay.testing.upstream import until
from h2o_relay_ui.column_view import Face, faces
from h2o_relay_ui.comparison import Comparison, Setup
from h2o_relay_ui.comparisons import Comparisons
from h2o_relay_ui.context import Context, User
from h2o_relay_ui.conversation import text_of
from h2o_relay_ui.turns import Turns

from .fakes import FakeRelay, Script, context, view

ME = "somebody"
WITHIN = 10.0  # seconds that a test waits for what takes milliseconds
CONTEXT: list[Context] = []
"""That of the page which was opened last."""


@dataclass
class Bench:
    """One user's comparisons."""

    relay: FakeRelay
    context: Context
    comparisons: Comparisons
    id: str = ""
    """Of the one that `ask` goes on with."""
    asked: int = 0
    """Requests that had been made before the latest round."""

    async def ask(self, text: str, setup: Setup | None = None) -> Comparison:
        """A round, to its end."""
        await self.begin(text, setup)
        return await self.ended()

    async def begin(self, text: str, setup: Setup | None = None) -> None:
        self.asked = len(self.relay.asked)
        if setup is None:
            setup = (await self.get()).setup
        elif self.id:
            await self.comparisons.keep(ME, self.id, setup)
        self.id = await self.comparisons.ask(ME, self.id, setup, text)

    async def ended(self) -> Comparison:
        await until(lambda: not self.comparisons.turns(ME, self.id), within=WITHIN)
        return await self.get()

    async def get(self) -> Comparison:
        return await self.comparisons.get(ME, self.id)

    def told(self, model: str) -> list[str]:
        """What the latest round told a model: texts of questions and answers in turn."""
        requests = [a for a in self.relay.asked[self.asked :] if a.params["model"] == model]
        return [text_of(message) for message in requests[-1].params["messages"]]


@contextlib.asynccontextmanager
async def bench(
    *names: str, kind: str = "compare", scripts: Mapping[str, Script] | None = None,
    url: str = "sqlite://", **changes: Any,
) -> AsyncIterator[Bench]:  # fmt: skip
    """Models of these names; each says its own name unless a script has it otherwise."""
    usual = {name: Script(pieces=(f"I am {name}.",)) for name in names}
    relay = FakeRelay(*map(view, names), scripts={**usual, **(scripts or {})})
    async with Store(url) as store:
        conversations = Conversations(store)
        turns = Turns(relay, conversations)  # type: ignore[arg-type]
        here = context(
            relay, conversations=conversations, votes=Votes(store), turns=turns,
            user=lambda request: User(getattr(request, "who", ME)), **changes,
        )  # fmt: skip
        CONTEXT[:] = [here]
        try:
            yield Bench(relay, here, Comparisons(here, kind))
        finally:
            await turns.close()


def words(face: Face) -> str:
    """All that a column's thread says, without the backslashes that escape markup."""
    parts = [part["text"] for row in face.thread for part in row["content"]]
    return "\n".join(parts).replace("\\", "")


def shown(comparison: Comparison) -> list[str]:
    return [words(face) for face in faces(comparison)]


@dataclass
class Page:
    """One open page: what its components hold."""

    desk: Any
    who: str = ME
    session: str = "session"
    place: Any = None
    """What the browser has kept."""
    values: dict[Any, Any] = field(default_factory=dict)
    started: int = 0
    """How often the page was told to follow what runs."""

    @property
    def request(self) -> Any:
        return SimpleNamespace(session_hash=self.session, who=self.who)

    def take(self, parts: list[Any], updates: list[Any]) -> None:
        """What an event answered, as a browser takes it."""
        assert len(parts) == len(updates)
        for part, update in zip(parts, updates, strict=True):
            if not isinstance(update, dict) or "__type__" not in update:
                self.values[part] = update
            elif len(update) > 1:
                self.values.setdefault(part, {}).update(update)
        self.place = self.values.get(self.desk.parts.place, self.place)
        signal = self.values.pop(self.desk.parts.signal, None)
        self.started += signal is not None

    async def do(self, event: Any, *given: Any) -> None:
        self.take(self.desk.screen, await event(self.request, *given))

    async def load(self) -> None:
        await self.do(self.desk.load, self.place)

    async def send(self, text: str, seen: Mapping[Any, Any] | None = None, **texts: str) -> None:
        """`seen`: what components hold that no event has told of yet."""
        from h2o_relay_ui.comparison import FIELDS

        parts = self.desk.parts
        held = {**self.values, **(seen or {})}
        values: list[Any] = [texts.get(each.name, "") for each in FIELDS]
        values += [held.get(switch) for switch in parts.switches]
        for model in parts.columns.models:
            value = held.get(model)
            values.append(value.get("value") if isinstance(value, dict) else value)
        updates = await self.desk.send(self.request, self.place, text, *values)
        self.take([parts.box, *self.desk.screen], updates)

    async def press(self, event: Any, components: list[Any], at: int, *given: Any) -> None:
        """An event that the part of one column brings about."""
        pressed = SimpleNamespace(target=components[at])
        await self.do(event, pressed, self.place, *given)

    async def follow(self) -> int:
        """Take what streams, to its end; how many updates that was."""
        count = 0
        async for updates in self.desk.watch(self.request):
            self.take(self.desk.parts.columns.live, updates)
            count += 1
        updates = await self.desk.settle(self.request, self.place)
        self.take([*self.desk.around, *self.desk.parts.columns.live], updates)
        return count

    def thread(self, at: int) -> str:
        rows = self.values[self.desk.parts.columns.threads[at]]
        texts = [part["text"] for row in rows for part in row["content"]]
        return "\n".join(texts).replace("\\", "")

    def foot(self, at: int) -> str:
        return str(self.values[self.desk.parts.columns.feet[at]])

    def marks(self, at: int) -> str:
        return str(self.values[self.desk.parts.columns.marks[at]])

    def model(self, at: int) -> Any:
        return self.values[self.desk.parts.columns.models[at]]["value"]

    @property
    def visible(self) -> int:
        boxes = self.desk.parts.columns.boxes
        return sum(bool(self.values.get(box, {}).get("visible")) for box in boxes)

    @property
    def notice(self) -> str:
        return str(self.values[self.desk.parts.notice])


def opened(kind: str = "compare", **given: Any) -> Page:
    """A page over the context that was made last."""
    desk = built()[kind == "grid"]
    desk._watching._views.clear()
    return Page(desk, **given)


@lru_cache(maxsize=1)
def built() -> tuple[Any, Any, Any]:
    """Both tabs and the page that they are on: they hold nothing of an open page's but `_watching`,
    and take long to be built.
    """
    import gradio as gr

    from h2o_relay_ui import compare_tab, grid_tab

    page: Any
    with gr.Blocks(analytics_enabled=False) as page, gr.Tabs():
        with gr.Tab("Compare"):
            compare = compare_tab.build(lambda: CONTEXT[0])
        with gr.Tab("Grid"):
            grid = grid_tab.build_grid(lambda: CONTEXT[0])
    return compare, grid, page
