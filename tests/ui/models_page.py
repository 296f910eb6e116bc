"""The models tab without a browser: its events called as Gradio calls them, its updates taken as a
browser takes them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from h2o_relay_ui.context import Context

from .fakes import FakeRelay, context

REQUEST: Any = SimpleNamespace()
CONTEXT: list[Context] = []
"""That of the page which was opened last."""
FIELDS = ("my/model", "vllm_chat:gpu2:8000", "", "12,345", "sk-canary", "")


@dataclass
class Page:
    """A tab as one page has it: what its components show."""

    context: Context
    tab: Any
    form: Any
    shown: dict[str, Any]
    state: Any = None
    chosen: Any = None

    def take(self, updates: dict[Any, Any]) -> None:
        """What an event answered, as a browser and Gradio's session take it."""
        names = {id(part): name for name, part in self.tab._parts.named.items()}
        names |= {id(part): f"field-{n}" for n, part in enumerate(self.tab._parts.fields)}
        for part, value in updates.items():
            if part is self.tab._shown:
                self.state = self.state if isinstance(value, dict) else value
            elif part is self.tab.chosen:
                self.chosen = value
            elif part is self.form._looked or part is self.form._editing:
                self.shown["looked" if part is self.form._looked else "editing"] = value
            else:
                update = value if isinstance(value, dict) else {"value": value}
                self.shown.setdefault(names[id(part)], {}).update(update)

    def value(self, name: str) -> Any:
        return self.shown.get(name, {}).get("value", "")

    def visible(self, name: str) -> bool:
        return bool(self.shown.get(name, {}).get("visible", False))

    async def render(self, page: int = 0, find: str = "") -> None:
        self.take(await self.tab.render(self.chosen, page, find, self.state, REQUEST))

    async def all(self, event: AsyncGenerator[Any]) -> list[Any]:
        return [told async for told in event]

    async def press(self, *given: Any, save: bool = True) -> None:
        """Add or Save, or Look, with these fields."""
        values = [*(given or FIELDS), self.shown.get("editing", "")]
        if save:
            values.append(self.shown.get("looked"))
        event = self.form.save if save else self.form.look
        for updates in await self.all(event(REQUEST, *values)):
            self.take(updates)


def opened(relay: FakeRelay, **changes: Any) -> Page:
    """A new page over the relay."""
    one = context(relay, **changes)
    CONTEXT[:] = [one]
    return Page(one, *built(), {})


@lru_cache(maxsize=1)
def built() -> tuple[Any, Any]:
    """The tab and its form: they hold nothing of a page's, and take long to be built."""
    import gradio as gr

    from h2o_relay_ui.models_form import Form
    from h2o_relay_ui.models_layout import layout
    from h2o_relay_ui.models_tab import ModelsTab

    with gr.Blocks(analytics_enabled=False), gr.Tabs(), gr.Tab("Models"):
        tab = ModelsTab(lambda: CONTEXT[0], layout())
        tab.wire()
        form = Form(lambda: CONTEXT[0], tab._parts, tab.chosen)
        form.wire()
    return tab, form
