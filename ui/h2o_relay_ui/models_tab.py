"""The models tab: every deployment as it is now, and what can be done to it.

with gr.Tab("Models"):
    models_tab.build(context)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from h2o_relay.admin import DeploymentView
from h2o_relay.errors import RelayError

from . import models_rows as rows
from .context import GetContext
from .live import live
from .models_form import Form
from .models_layout import MOVING, Parts, layout
from .models_states import is_pool
from .models_view import POOL, refusal, wanted
from .watching import QUICK, SLOW, Props, news, watch
from .words import text

CSS = Path(__file__).with_name("models.css")
PACE = 1.0  # seconds between looks at what has changed
GONE = "This model is not there any more."
Updates = dict[Any, Any]


def build(context: GetContext) -> None:
    """Put the tab where the page is being built."""
    parts = layout()
    tab = ModelsTab(context, parts)
    tab.wire()
    Form(context, parts, tab.chosen).wire()


async def turn(step: int, page: int) -> int:
    """Another page of rows."""
    return page + step


class ModelsTab:
    """The rows, and the panel of the one that is selected."""

    def __init__(self, context: GetContext, parts: Parts) -> None:
        self._context = context
        self._parts = parts
        self.chosen = gr.State(None)
        """The selected row's key."""
        self._page = gr.State(0)
        self._shown = gr.State(None)
        """What the page shows: properties by component's name, and its rows' keys."""
        self._beat = gr.Textbox(visible="hidden", elem_id="models-beat")
        self._turn = gr.Textbox(visible="hidden", elem_id="models-turn")
        """Change with what is to be shown. No State: those tell of changes in the queue alone."""

    def wire(self) -> None:
        parts, place = self._parts, [self.chosen, self._page, self._parts["find"]]
        shows: dict[str, Any] = {
            "fn": self.render, "inputs": [*place, self._shown],
            "outputs": [*parts.named.values(), self._shown], **QUICK,
        }  # fmt: skip
        watch(PACE, self.beat, place, [self._beat, self._turn])
        self._beat.change(self.move, [*place, self._shown], [*parts.moving, self._shown], **QUICK)
        gr.on([self._turn.change, self.chosen.change], **shows)
        parts["find"].input(trigger_mode="always_last", **shows)
        selects = [self.chosen, *self._quiet()]
        picks = [pick.click for pick in parts.picks]
        gr.on(picks, self.pick, [self._shown], selects, **QUICK).then(**shows)
        parts["close"].click(self.close, None, selects, **QUICK).then(**shows)
        for name, step in (("previous", -1), ("next", 1)):
            turned = parts[name].click(partial(turn, step), [self._page], [self._page], **QUICK)
            turned.then(**shows)
        for name, act in (("test", self.test), ("hide", self.hide), ("load", self.loader(True)),
                          ("unload", self.loader(False))):  # fmt: skip
            parts[name].click(act, [self.chosen], [parts["message"]], **SLOW)
        parts["remove"].click(self.ask, [self.chosen], self._quiet(), **QUICK)
        parts["no"].click(self.quiet, None, self._quiet(), **QUICK)
        parts["yes"].click(self.remove, [self.chosen], selects, **SLOW)

    # What is shown.

    async def beat(
        self, chosen: Sequence[str] | None, page: int, find: str, request: gr.Request
    ) -> tuple[str, str]:
        """A word for what moves all the time, and one for the rest."""
        props, keys = await self._wanted(chosen, page, find, request)
        moving = {name: props.get(name) for name in MOVING}
        rest = {name: value for name, value in props.items() if name not in MOVING}
        return f"{hash(repr(moving)):x}", f"{hash(repr((rest, keys))):x}"

    async def render(
        self, chosen: Sequence[str] | None, page: int, find: str, shown: Any, request: gr.Request
    ) -> Updates:
        """What is not shown as it is to be."""
        props, keys = await self._wanted(chosen, page, find, request)
        return {**self._changed(shown, props), self._shown: (props, keys)}

    async def move(
        self, chosen: Sequence[str] | None, page: int, find: str, shown: Any, request: gr.Request
    ) -> Updates:
        """The same of what moves all the time, if nothing else is to be changed with it."""
        props, keys = await self._wanted(chosen, page, find, request)
        if not shown or shown[1] != keys:
            return {self._shown: gr.skip()}
        moving = {name: props[name] for name in MOVING if name in props}
        return {**self._changed(shown, moving), self._shown: ({**shown[0], **moving}, keys)}

    def _changed(self, shown: Any, props: dict[str, Props]) -> Updates:
        changed = news(shown[0] if shown else {}, props)
        return {self._parts[name]: gr.update(**new) for name, new in changed.items()}

    async def _wanted(
        self, chosen: Sequence[str] | None, page: int, find: str, request: gr.Request
    ) -> tuple[dict[str, Props], list[rows.Key]]:
        context = self._context()
        return await wanted(context, context.user(request), chosen, page, find or "")

    def _quiet(self) -> list[Any]:
        return [self._parts[name] for name in ("confirm", "question", "message")]

    async def quiet(self) -> Updates:
        return self.silence()

    def silence(self) -> Updates:
        """Nothing is asked or told."""
        return {self._parts["confirm"]: gr.update(visible=False), self._parts["message"]: ""}

    async def pick(self, shown: Any, event: gr.EventData) -> Updates:
        # The target may be a session's own copy, of which only what we gave it is the same.
        target: Any = event.target
        at = int(target.elem_id.rpartition("-")[2])
        keys = shown[1] if shown else []
        return {self.chosen: keys[at] if at < len(keys) else None, **self.silence()}

    async def close(self) -> Updates:
        return {self.chosen: None, **self.silence()}

    # What is done.

    async def test(self, chosen: Any) -> AsyncGenerator[str]:
        view = await self._selected(chosen)
        if view is None or not view.name:
            yield rows.problem(GONE)
            return
        yield rows.note(f"Asking {view.name} for one token …")
        try:
            yield rows.tried(view.name, await self._context().relay.try_out(view.name))
        except RelayError as error:
            yield rows.problem(f"{view.name} was not tested: {error.message}")

    def loader(self, on: bool) -> Callable[[Any, gr.Request], AsyncGenerator[str]]:
        begun, done = ("Loading", "is loaded") if on else ("Unloading", "is unloaded")

        async def load(chosen: Any, request: gr.Request) -> AsyncGenerator[str]:
            context, view = self._context(), await self._selected(chosen)
            why = refusal(context, context.user(request), view)
            if why or view is None:
                yield rows.problem(why or GONE)
                return
            yield rows.note(f"{begun} {view.name} …")
            try:
                await context.relay.set_loaded(view.name, on)
                yield rows.note(f"{view.name} {done}.", good=True)
            except RelayError as error:
                yield rows.problem(error.message)

        return load

    async def hide(self, chosen: Any, request: gr.Request) -> str:
        context, view = self._context(), await self._selected(chosen)
        why = refusal(context, context.user(request), view)
        if why or view is None:
            return rows.problem(why or GONE)
        try:
            await context.relay.change(view.id, {"visible": not view.visible})
        except RelayError as error:
            return rows.problem(error.message)
        if view.visible:
            return rows.note("It is hidden from the lists, and can still be asked for by name.")
        return rows.note("It is listed again.", good=True)

    async def ask(self, chosen: Any) -> Updates:
        """Before something is removed."""
        context, view = self._context(), await self._selected(chosen)
        if view is None or is_pool(view):
            why = POOL if view is not None else GONE
            return {**self.silence(), self._parts["message"]: rows.problem(why)}
        named = [one for one in await live(context).views() if one.id == view.id]
        what = f"all {len(named)} models of {view.server}" if len(named) > 1 else view.name
        line = f"Remove {text(what or view.server)}? Its server goes on running."
        return {
            self._parts["confirm"]: gr.update(visible=True),
            self._parts["question"]: f'<div class="models-question">{line}</div>',
            self._parts["message"]: "",
        }

    async def remove(self, chosen: Any, request: gr.Request) -> Updates:
        context, view = self._context(), await self._selected(chosen)
        why = refusal(context, context.user(request), view)
        try:
            if why or view is None:
                return {**self.silence(), self._parts["message"]: rows.problem(why or GONE)}
            await context.relay.remove(view.id)
        except RelayError as error:
            return {**self.silence(), self._parts["message"]: rows.problem(error.message)}
        return {self.chosen: None, **self.silence()}

    async def _selected(self, chosen: Any) -> DeploymentView | None:
        return rows.chosen(await live(self._context()).views(), chosen)


__all__ = ["CSS", "build"]
