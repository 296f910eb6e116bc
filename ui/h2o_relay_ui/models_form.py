"""The models tab's form: look at a server, add its models, change an entry that was added."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import gradio as gr

from h2o_relay.errors import RelayError

from . import models_rows as rows
from .context import GetContext
from .models_fields import FieldError, Fields, of_entry, prompt_types
from .models_layout import Parts
from .models_view import refusal
from .watching import QUICK, SLOW
from .words import text

ADD, ANYWAY, SAVE = "Add", "Add anyway", "Save"
LOOKING = "Looking at the server …"
MASKED = "The key is not shown here, so the server can be looked at only once this is saved."
STILL = "Nothing is added yet. Change what is wrong, or add it anyway: it is tried again and again."
Updates = dict[Any, Any]


class Form:
    """`chosen` is the tab's selected row: what is added is selected."""

    def __init__(self, context: GetContext, parts: Parts, chosen: Any) -> None:
        self._context = context
        self._parts = parts
        self._chosen = chosen
        self._editing = gr.State("")
        """The id of the entry that is changed; "" where one is added."""
        self._looked = gr.State(None)
        """The entry that was looked at last, and is not well."""

    def wire(self) -> None:
        parts = self._parts
        told = [parts["found"], parts["add"], self._looked]
        opened = [parts["form"], parts["form_title"], *parts.fields, *told, self._editing]
        given = [*parts.fields, self._editing]
        parts["open"].click(self.open, None, opened, scroll_to_output=True, **QUICK)
        parts["edit"].click(
            self.edit, [self._chosen], [*opened, parts["message"]], scroll_to_output=True, **QUICK
        )
        parts["cancel"].click(self.cancel, None, [parts["form"], self._editing], **QUICK)
        parts["look"].click(self.look, given, told, **SLOW)
        parts["add"].click(
            self.save, [*given, self._looked],
            [*told, parts["form"], parts["message"], self._editing, self._chosen], **SLOW,
        )  # fmt: skip
        submits = [field.submit for field in parts.fields if isinstance(field, gr.Textbox)]
        gr.on(submits, self.look, given, told, **SLOW)

    async def open(self) -> Updates:
        return self._filled(Fields(), "", "Add a model")

    async def cancel(self) -> Updates:
        return self._closed()

    def _closed(self) -> Updates:
        return {self._parts["form"]: gr.update(visible=False), self._editing: ""}

    async def edit(self, chosen: Any, request: gr.Request) -> Updates:
        context, message = self._context(), self._parts["message"]
        why = refusal(context, context.user(request))
        if why or not chosen:
            return {message: rows.problem(why)}
        try:
            fields = of_entry(await context.relay.entry(chosen[0]))
        except RelayError as error:
            return {message: rows.problem(error.message)}
        name = chosen[1] or fields.base_model or fields.server
        return {**self._filled(fields, chosen[0], f"Change {name}"), message: ""}

    def _filled(self, fields: Fields, id: str, title: str) -> Updates:
        parts = self._parts
        base_model, server, prompt_type, context, key, name = parts.fields
        return {
            parts["form"]: gr.update(visible=True),
            parts["form_title"]: f'<div class="models-title">{text(title)}</div>',
            base_model: fields.base_model, server: fields.server, context: fields.context,
            key: fields.key, name: fields.display_name,
            prompt_type: gr.update(
                choices=prompt_types(fields.prompt_type), value=fields.prompt_type or None
            ),
            **self._told("", SAVE if id else ADD), self._editing: id,
        }  # fmt: skip

    def _told(self, found: str, button: str, looked: Any = None) -> Updates:
        parts = self._parts
        return {parts["found"]: found, parts["add"]: gr.update(value=button), self._looked: looked}

    async def look(self, request: gr.Request, *given: Any) -> AsyncGenerator[Updates]:
        """What the server is, without adding it."""
        *values, editing = given
        fields, button = Fields.of(*values), SAVE if editing else ADD
        entry, problem = self._read(fields, request)
        if problem or fields.masked:
            yield self._told(problem or rows.note(MASKED), button)
            return
        async for updates, _ in self._looking(entry, button):
            yield updates

    async def save(self, request: gr.Request, *given: Any) -> AsyncGenerator[Updates]:
        """Add what the fields say, after a look; or change the entry that is edited."""
        *values, editing, looked = given
        fields = Fields.of(*values)
        entry, problem = self._read(fields, request)
        if problem:
            yield self._told(problem, SAVE if editing else ADD)
            return
        if not editing and entry != looked:
            last = False
            async for updates, well in self._looking(entry, ADD):
                yield updates
                last = well
            if not last:
                return
        yield await self._saved(fields, entry, editing)

    def _read(self, fields: Fields, request: gr.Request) -> tuple[Mapping[str, Any], str]:
        """The entry, and why there is none."""
        context = self._context()
        why = refusal(context, context.user(request))
        if why:
            return {}, rows.problem(why)
        try:
            return fields.entry(), ""
        except FieldError as error:
            return {}, rows.problem(str(error))

    async def _looking(
        self, entry: Mapping[str, Any], button: str
    ) -> AsyncGenerator[tuple[Updates, bool]]:
        """What is told, and whether the server can be used."""
        yield self._told(rows.note(LOOKING), button), False
        try:
            found = await self._context().relay.identify(entry)
        except RelayError as error:
            yield self._told(rows.problem(error.message), button), False
            return
        told = rows.found(found)
        if found.problem and button == ADD:
            yield self._told(told + rows.note(STILL), ANYWAY, entry), False
        else:
            yield self._told(told, button), not found.problem

    async def _saved(self, fields: Fields, entry: Mapping[str, Any], editing: str) -> Updates:
        relay, message = self._context().relay, self._parts["message"]
        try:
            if editing:
                await relay.change(editing, fields.whole())
            else:
                added = await relay.add(entry)
        except RelayError as error:
            return self._told(rows.problem(error.message), SAVE if editing else ADD)
        done = {self._chosen: (editing or added, fields.display_name or fields.base_model)}
        told = rows.note("It is changed." if editing else "It is added.", good=True)
        return {**self._told("", ADD), **self._closed(), **done, message: told}
