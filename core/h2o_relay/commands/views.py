"""Where a chat happens: on a terminal, with Markdown and line editing, or between pipes."""

from __future__ import annotations

import asyncio
import codecs
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Protocol

import click

from .markdown_blocks import last_break
from .printable import printable
from .tables import console

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    from .asking import Growing

REFRESH = 12  # times a second that a growing answer is drawn
THOUGHT = 300  # characters of a model's reasoning that are shown while it thinks


class View(Protocol):
    """What a dialogue needs of the place where it happens."""

    interactive: bool
    """A person sits there, whose Ctrl-C means the answer and not the program."""

    async def read(self) -> str | None:
        """The next thing the person says; None when there is no more."""

    async def show(self, answer: Growing) -> None:
        """Stream an answer and show it; what came before an error or a stop stays visible."""

    def note(self, text: str) -> None: ...

    def error(self, text: str) -> None: ...

    def footer(self, text: str) -> None: ...


def view_for() -> View:
    """A terminal's view where a person sits at both ends, else a plain one."""
    both = sys.stdin.isatty() and sys.stdout.isatty()
    return TerminalView() if both else PlainView()


class PlainView:
    """A question a line on stdin, answers on stdout, everything else on stderr."""

    def __init__(self) -> None:
        self.interactive = sys.stdin.isatty()
        self._lines = lines(sys.stdin.fileno())

    async def read(self) -> str | None:
        if sys.stdin.isatty():
            click.echo("> ", nl=False, err=True)
        return await anext(self._lines, None)

    async def show(self, answer: Growing) -> None:
        shown = printable if sys.stdout.isatty() else str
        try:
            async with aclosing(answer.pieces()) as pieces:
                async for piece in pieces:
                    click.echo(shown(piece), nl=False)
        finally:
            click.echo()

    def note(self, text: str) -> None:
        click.echo(printable(text), err=True)

    def error(self, text: str) -> None:
        click.echo(f"h2o: {printable(text)}", err=True)

    def footer(self, text: str) -> None:
        pass


class TerminalView:
    """Line editing with a history, and answers drawn as Markdown while they grow."""

    interactive = True

    def __init__(self) -> None:
        self._console = console()
        self._session = prompt_session(self)

    async def read(self) -> str | None:
        try:
            # The loop's own handler keeps its place: in raw mode Ctrl-C is a key, not a signal.
            text = await self._session.prompt_async(handle_sigint=False)
        except EOFError:
            return None
        return str(text)

    async def show(self, answer: Growing) -> None:
        from rich.live import Live

        drawn = 0
        live = Live(
            console=self._console, refresh_per_second=REFRESH, transient=True,
            get_renderable=lambda: self._unfinished(answer, drawn),
        )  # fmt: skip
        try:
            with live:
                async with aclosing(answer.pieces()) as pieces:
                    async for _ in pieces:
                        cut = last_break(answer.text, drawn)
                        if cut > drawn:
                            begin, drawn = drawn, cut
                            self._block(answer.text[begin:cut])
        finally:
            if answer.text[drawn:].strip():
                self._block(answer.text[drawn:])

    def _block(self, text: str) -> None:
        from rich.markdown import Markdown

        self._console.print(Markdown(printable(text)))
        self._console.print()

    def _unfinished(self, answer: Growing, drawn: int) -> Any:
        """What is drawn anew again and again: the block that still grows."""
        from rich.markdown import Markdown
        from rich.spinner import Spinner
        from rich.text import Text

        if answer.text:
            return Markdown(printable(answer.text[drawn:]))
        thought = " ".join(printable(answer.reasoning).split())[-THOUGHT:]
        return Text(thought, style="dim italic") if thought else Spinner("dots")

    def note(self, text: str) -> None:
        self._console.print(printable(text), style="dim", markup=False)

    def error(self, text: str) -> None:
        self._console.print(printable(text), style="red", markup=False)

    def footer(self, text: str) -> None:
        self._console.print(printable(text), style="dim", markup=False)
        self._console.print()


def prompt_session(view: View) -> PromptSession[str]:
    """A prompt with a history of its own. A history that cannot be kept is noted, not fatal."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory

    from ..settings import cache_dir
    from .dialogue import QUIT, commands

    path = cache_dir() / "chat_history"
    history: History
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600))
        history = FileHistory(str(path))
    except OSError as error:
        view.error(f"what you type is not kept: {path}: {error.strerror}")
        history = InMemoryHistory()
    words = [*(f"/{name}" for name in commands()), *QUIT]
    return PromptSession(
        "> ", history=history, key_bindings=keys(view), complete_while_typing=False,
        completer=WordCompleter(words, sentence=True),
    )  # fmt: skip


def keys(view: View) -> KeyBindings:
    """Ctrl-C clears the line; Alt-Enter begins a new one."""
    from prompt_toolkit.application import run_in_terminal
    from prompt_toolkit.key_binding import KeyBindings

    bindings = KeyBindings()

    @bindings.add("c-c")
    def clear(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            run_in_terminal(lambda: view.note("Ctrl-D leaves"))

    @bindings.add("escape", "enter")
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return bindings


async def lines(descriptor: int) -> AsyncIterator[str]:
    """The lines of a pipe, file or terminal.

    Read past Python's buffers in a daemon thread: a read that never returns must not keep the
    process from ending.
    """
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[bytes] = asyncio.Queue()

    def pump() -> None:
        with suppress(RuntimeError):  # the loop is gone: nobody wants to know any more
            while True:
                piece = os.read(descriptor, 65536)
                loop.call_soon_threadsafe(pieces.put_nowait, piece)
                if not piece:
                    return

    threading.Thread(target=pump, name="stdin", daemon=True).start()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = ""
    while piece := await pieces.get():
        *whole, text = (text + decoder.decode(piece)).split("\n")
        for line in whole:
            yield line
    if text:
        yield text
