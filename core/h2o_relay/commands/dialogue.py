"""The loop of `h2o chat`: questions, answers that can be stopped, and `/commands`."""

from __future__ import annotations

import asyncio
import difflib
import signal
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import RelayError
from .asking import Growing, request, streamed
from .conversation import Conversation, Ending, Turn
from .failures import explain
from .loops import on_signals

if TYPE_CHECKING:
    from ..kernel import Kernel
    from .views import View

QUIT = ("/quit", "/exit")


class Dialogue:
    """A conversation with one of a kernel's models, as a person leads it in a view.

    Each method `do_x` is the command `/x`; its docstring is its line in `/help`.
    """

    def __init__(self, kernel: Kernel, view: View, model: str, flags: Mapping[str, Any]) -> None:
        self.kernel, self.view, self.model, self.flags = kernel, view, model, flags
        self.conversation = Conversation(system=flags.get("system"))
        self._showing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until the end of the input, or `/quit`. A person's Ctrl-C ends answers only."""
        mine = [signal.SIGINT] if self.view.interactive else []
        with on_signals(mine, lambda _: self._showing and self._showing.cancel()):
            await self._converse()

    async def _converse(self) -> None:
        where = self.kernel.find(self.model).server.shown
        self.view.note(f"{self.model} at {where} - /help for commands, Ctrl-D to leave")
        while (line := await self.view.read()) is not None:
            text = line.strip()
            if text in QUIT:
                break
            if text.startswith("//"):
                await self.ask(text[1:])
            elif text.startswith("/"):
                await self.command(text)
            elif text:
                await self.ask(text)

    async def command(self, text: str) -> None:
        """Do what a line that begins with a slash says."""
        word, _, argument = text[1:].partition(" ")
        names = commands()
        if word not in names:
            near = difflib.get_close_matches(word, [*names, "quit"], n=1)
            hint = f"did you mean /{near[0]}?" if near else "/help lists them"
            self.view.error(f"unknown command /{word}; {hint}")
            return
        try:
            await getattr(self, f"do_{word}")(argument.strip())
        except (RelayError, OSError) as error:
            self.view.error(explain(error).line)

    async def ask(self, question: str) -> None:
        """Put a question and show the answer; whatever goes wrong, the chat goes on."""
        messages = self.conversation.messages(question)
        params = streamed(request(self.model, messages, self.flags))
        answer = Growing(self.kernel, {**params, "truncation": "auto"})
        began = time.monotonic()
        ending = await self._show(answer)
        turn = Turn(question, answer.text, self.model, ending)
        self.conversation.turns.append(turn)
        for line in answer.notes:
            self.view.note(line)
        self.view.footer(self._footer(answer, ending, time.monotonic() - began))

    async def _show(self, answer: Growing) -> Ending:
        """Show an answer as it comes, until its end or until it is stopped."""
        self._showing = asyncio.create_task(self.view.show(answer))
        try:
            await self._showing
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return "stopped"
        except RelayError as error:
            self.view.error(explain(error).line)
            return "failed"
        return "complete"

    def _footer(self, answer: Growing, ending: Ending, seconds: float) -> str:
        parts = [self.model]
        if answer.usage and answer.usage.get("completion_tokens") is not None:
            parts.append(f"{answer.usage['completion_tokens']} tokens")
        parts.append(f"{seconds:.1f} s")
        if answer.finish_reason == "length":
            parts.append("cut at the token limit")
        if ending != "complete":
            parts.append(ending)
        return " · ".join(parts)

    async def do_help(self, argument: str) -> None:
        """list the commands"""
        lines = [f"/{name:8} {what}" for name, what in commands().items()]
        self.view.note("\n".join([*lines, "/quit     leave (so does Ctrl-D)",
                                  "//...     a message that begins with a slash"]))  # fmt: skip

    async def do_model(self, argument: str) -> None:
        """[NAME]: show or change the model"""
        if argument:
            self.model = self.kernel.find(argument).name
        self.view.note(self.model)

    async def do_models(self, argument: str) -> None:
        """list the models"""
        names = [found.name for found in self.kernel.models()]
        self.view.note("\n".join(f"{'*' if n == self.model else ' '} {n}" for n in names))

    async def do_system(self, argument: str) -> None:
        """[TEXT]: show or set the system message; None takes it away"""
        if argument:
            self.conversation.system = None if argument.lower() == "none" else argument
        self.view.note(self.conversation.system or "no system message")

    async def do_clear(self, argument: str) -> None:
        """forget what was said"""
        self.conversation.turns.clear()
        self.view.note("forgotten")

    async def do_retry(self, argument: str) -> None:
        """put the last question again"""
        question = self.conversation.take_back()
        if question is None:
            self.view.error("nothing was asked yet")
            return
        await self.ask(question)

    async def do_save(self, argument: str) -> None:
        """FILE: write the conversation to a new file, as Markdown or as .json"""
        if not argument:
            self.view.error("name a file: /save chat.md")
            return
        path = await asyncio.to_thread(self.conversation.save, argument)
        self.view.note(f"saved to {path}")


def commands() -> dict[str, str]:
    """The commands' names and what they do."""
    found = [name for name in vars(Dialogue) if name.startswith("do_")]
    return {name[3:]: getattr(Dialogue, name).__doc__ or "" for name in found}
