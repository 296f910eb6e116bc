"""What the parts of Compare and of the grid do: which event draws what.

A page holds the id of its comparison, in the browser, so that it is there after a reload and a
restart; before the first question it holds the columns instead. Everything is drawn from the store
and the running turns.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr

from h2o_relay.errors import NotFound, RelayError

from . import chat_view, chats, column_view
from .column_view import faces
from .columns import heads, live
from .compare_parts import Parts
from .compare_watch import Watching
from .comparison import FIELDS, Comparison, Setup
from .comparisons import Comparisons
from .context import GetContext

LIST_WAIT = 3.0  # seconds that a page waits for the first list of models
AT_FIRST = 2  # columns
NOTHING = Setup()
FAULT = "The page failed. Its log says why."
PLAIN: dict[str, Any] = {
    "api_visibility": "private", "preprocess": False, "postprocess": False,
    "show_progress": "hidden", "show_progress_on": [], "trigger_mode": "multiple",
}  # fmt: skip
"""A progress that is not shown would be told to all outputs with every update of a stream."""
QUICK: dict[str, Any] = {**PLAIN, "queue": False}
WATCH: dict[str, Any] = {**PLAIN, "concurrency_limit": None}
Work = Callable[[str, Comparison], Awaitable[str | Setup | None]]
"""Does something for an owner to a comparison. It gives its id, or a new setup, or nothing."""
log = logging.getLogger(__name__)


class Desk:
    """The events of one tab."""

    def __init__(self, context: GetContext, kind: str, parts: Parts) -> None:
        self.parts = parts
        self._context = context
        self._kind = kind
        self._watching = Watching()
        columns = parts.columns
        self.around = [parts.notice, *columns.heads]
        """What changes when the last answer has ended."""
        self.screen = [
            parts.place, *parts.switches, *parts.fields, *self.around, *columns.live, parts.signal
        ]  # fmt: skip

    def wire(self, page: gr.Blocks, tab: gr.Tab | None) -> None:
        parts, columns, place = self.parts, self.parts.columns, [self.parts.place]
        page.load(self.load, place, self.screen, **QUICK)
        if tab is not None:  # what was not shown was not followed
            tab.select(self.load, place, self.screen, **QUICK)
        seen = [*parts.fields, *parts.switches, *columns.models]
        parts.box.submit(self.send, [*place, parts.box, *seen], [parts.box, *self.screen], **QUICK)
        gr.on([each.click for each in columns.retries], self.retry, place, self.screen, **QUICK)
        gr.on(
            [each.option_select for each in columns.threads], self.retry_in_thread, place,
            self.screen, **QUICK,
        )  # fmt: skip
        gr.on([each.click for each in columns.stops], self.stop, place, None, **QUICK)
        parts.stop.click(self.stop_all, place, None, **QUICK)
        parts.fresh.click(self.fresh, place, self.screen, **QUICK)
        watch = parts.signal.change(self.watch, None, columns.live, **WATCH)
        watch.then(self.settle, place, [*self.around, *columns.live], **QUICK)
        page.unload(self.leave)

    # What there is.

    def owner(self, request: gr.Request) -> str:
        return self._context().user(request).owner

    def comparisons(self) -> Comparisons:
        context = self._context()
        made: dict[str, Comparisons] = context.extra.setdefault("comparisons", {})
        if self._kind not in made:
            made[self._kind] = Comparisons(context, self._kind)
        return made[self._kind]

    async def now(self, owner: str, place: object) -> Comparison:
        """The comparison that a page holds; one that is gone is begun anew. Raises RelayError."""
        told = place if isinstance(place, dict) else {}
        if told.get("id"):
            with contextlib.suppress(NotFound):
                return await self.comparisons().get(owner, str(told["id"]))
        return Comparison(await self.begun(owner, Setup.of(told.get("setup"))))

    async def begun(self, owner: str, setup: Setup) -> Setup:
        """The columns of a new comparison: those of the last one, or the first models."""
        models = await self.models(owner)
        return setup if setup.columns else setup.added(*models[:AT_FIRST])

    async def models(self, owner: str) -> list[str]:
        """The names that somebody may ask for now."""
        relay = self._context().relay
        if not relay.models():
            await relay.settled(LIST_WAIT)
        return self.named(owner)

    def named(self, owner: str) -> list[str]:
        """As far as the models are known."""
        context = self._context()
        names = dict.fromkeys(model.name for model in context.relay.models())
        return [name for name in names if context.may_use(owner, name)]

    # What is shown.

    def drawn(self, owner: str, comparison: Comparison, problem: str, signal: object) -> list[Any]:
        """The values of `screen`."""
        setup = comparison.setup
        values = {self.parts.shared: setup.shared, self.parts.blind: setup.blind}
        return [
            {"id": comparison.id, "setup": setup.as_json()},
            *(values[switch] for switch in self.parts.switches),
            *(setup.texts.get(each.name, "") for each in FIELDS),
            *self.drawn_around(owner, comparison, problem),
            *live(faces(comparison)),
            signal,
        ]

    def drawn_around(self, owner: str, comparison: Comparison, problem: str = "") -> list[Any]:
        """The values of `around`."""
        return [self.noticed(owner, comparison, problem), *self.headed(owner, comparison)]

    def headed(self, owner: str, comparison: Comparison) -> list[Any]:
        choices = partial(self.choices, owner)
        return heads(comparison.arranged, choices, hidden=comparison.hidden)

    def choices(self, owner: str, model: str) -> list[chat_view.Choice]:
        """What a column may have, `model` among it."""
        return chat_view.choices(self._context().offered(owner), model)

    def noticed(self, owner: str, comparison: Comparison, problem: str) -> str:
        """A line of HTML, or nothing."""
        line = f"⚠ {problem}" if problem else column_view.notice(comparison)
        if not problem and not comparison.setup.columns:
            line = chats.problem(self._context())
        return column_view.said(line)

    async def do(self, request: gr.Request, place: object, work: Work | None = None) -> list[Any]:
        """Do something to the comparison of a page, and draw it. What goes wrong is said there."""
        owner, problem = self.owner(request), ""
        found: Comparison | None = None
        try:
            found = await self.now(owner, place)
            if work is not None:
                found = await self._after(owner, found, await work(owner, found))
        except RelayError as error:
            problem = error.message
        except Exception:
            log.exception("a comparison failed")
            problem = FAULT
        if found is None:  # the store cannot be read: what the page shows is all that there is
            told = {self.parts.notice: self.noticed(owner, Comparison(NOTHING), problem)}
            return [told.get(part, gr.skip()) for part in self.screen]
        view = self._watching.show(request.session_hash or "", found)
        running = self._runs(owner, found) and not view.followed
        signal = str(time.time_ns()) if running else gr.skip()
        return self.drawn(owner, found, problem, signal)

    def _runs(self, owner: str, comparison: Comparison) -> bool:
        return any(t.running for t in self.comparisons().turns(owner, comparison.id).values())

    async def _after(self, owner: str, found: Comparison, done: str | Setup | None) -> Comparison:
        """The comparison after `Work`."""
        if isinstance(done, Setup):
            if not found.id:
                return Comparison(done)
            await self.comparisons().keep(owner, found.id, done)
        id = done if isinstance(done, str) else found.id
        return await self.comparisons().get(owner, id) if id else found

    # Opening.

    async def load(self, request: gr.Request, place: Any) -> list[Any]:
        return await self.do(request, place)

    async def open(self, request: gr.Request, place: Any, id: str | None) -> list[Any]:
        """Another one. Where it is not there, that is said, and the page stays as it is."""
        owner = self.owner(request)

        async def work(_: str, found: Comparison) -> str | None:
            return (await self.comparisons().get(owner, id)).id if id else None

        return await self.do(request, place, work)

    async def fresh(self, request: gr.Request, place: Any) -> list[Any]:
        """A new one, asked as this one is."""
        told = place if isinstance(place, dict) else {}
        return await self.do(request, {"id": "", "setup": told.get("setup")})

    def leave(self, request: gr.Request) -> None:
        self._watching.leave(request.session_hash or "")

    # Asking and stopping.

    async def send(
        self, request: gr.Request, place: Any, text: str | None, *values: Any
    ) -> list[Any]:
        """`values`: those of fields, switches and models, as the page has them."""
        sent = False

        async def work(owner: str, found: Comparison) -> str:
            nonlocal sent
            setup = self._as_seen(found, values)
            id = await self.comparisons().ask(owner, found.id, setup, text or "")
            sent = True
            return id

        shown = await self.do(request, place, work if text and text.strip() else None)
        return ["" if sent else text, *shown]

    def _as_seen(self, found: Comparison, values: Sequence[Any]) -> Setup:
        """How the page says that it asks: whoever is quick sends before a change has arrived."""
        fields, switches = len(FIELDS), len(self.parts.switches)
        texts = {f.name: v for f, v in zip(FIELDS, values, strict=False) if v and v.strip()}
        setup = replace(found.setup, texts=texts)
        if switches:
            shared, blind = (on is True for on in values[fields : fields + switches])
            setup = replace(setup, shared=shared, blind=blind)
        columns, models = found.arranged, list(filter(None, values[fields + switches :]))
        if len(models) == len(columns) and not found.hidden:
            for column, model in zip(columns, models, strict=True):
                setup = setup.swapped(column.slot, str(model))
        return setup

    async def retry(self, request: gr.Request, event: gr.EventData, place: Any) -> list[Any]:
        return await self._again(request, place, self._at(event, self.parts.columns.retries))

    async def retry_in_thread(
        self, request: gr.Request, event: gr.SelectData, place: Any
    ) -> list[Any]:
        return await self._again(request, place, self._at(event, self.parts.columns.threads))

    async def _again(self, request: gr.Request, place: Any, at: int) -> list[Any]:
        async def work(owner: str, found: Comparison) -> None:
            if found.id and at < len(found.arranged):
                await self.comparisons().retry(owner, found.id, found.arranged[at].slot)

        return await self.do(request, place, work)

    async def stop(self, request: gr.Request, event: gr.EventData, place: Any) -> None:
        owner, found = await self._found(request, place)
        at = self._at(event, self.parts.columns.stops)
        if at < len(found.arranged):
            self.comparisons().stop(owner, found.id, found.arranged[at].slot)

    async def stop_all(self, request: gr.Request, place: Any) -> None:
        owner, found = await self._found(request, place)
        self.comparisons().stop(owner, found.id)

    @staticmethod
    def _at(event: gr.EventData, components: Sequence[Any]) -> int:
        """The column of the component that was used. The target may be the session's own copy of
        it, which has only what we gave it in common with it.
        """
        id = getattr(event.target, "elem_id", None)
        places = [at for at, each in enumerate(components) if each.elem_id == id]
        return places[0] if places else len(components)

    # Watching.

    async def watch(self, request: gr.Request) -> AsyncGenerator[list[Any], None]:
        """The columns as their answers grow; Gradio sends what differs from the last.

        Which comparison that is the page's last event has said here: what it told the page may not
        be there yet when this one is called.
        """
        owner, session = self.owner(request), request.session_hash or ""
        try:
            watching = self._watching.watch(self.comparisons(), owner, session)
            async with aclosing(watching) as following:
                async for seen in following:
                    yield live(seen)
        except RelayError as error:
            log.warning("a comparison cannot be followed: %s", error.message)
            yield [gr.skip() for _ in self.parts.columns.live]

    async def settle(self, request: gr.Request, place: Any) -> list[Any]:
        """What the end of the last answer changes around the columns; and the columns once more,
        since another event's answer may have come after a later state that had streamed.
        """
        owner, found = await self._found(request, place)
        return [*self.drawn_around(owner, found), *live(faces(found))]

    async def _found(self, request: gr.Request, place: Any) -> tuple[str, Comparison]:
        owner = self.owner(request)
        return owner, await self.now(owner, place)
