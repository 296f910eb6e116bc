"""Answers that run in this process, whoever looks at them: a page may be reloaded in mid-stream.

A `Turn` is one answer. It is received by a task of its own and kept in the store as it grows; the
pages that show it are viewers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from h2o_relay.admin import AdminAPI
from h2o_relay.errors import NotFound, RelayError

from . import thread
from .context import asking_for
from .conversation import parted
from .reply import PACE, Reply
from .shelf import Shelf
from .thread import Message

if TYPE_CHECKING:
    from h2o_relay.store import Conversations

    from .context import Relay

SAVE_EVERY = 2.0  # seconds between two savings of an answer that grows
SAVED_WITHIN = 2.0  # seconds that a page waits to hear whether an ended answer was saved
MAX_PACE = 0.2  # seconds between two updates of a page, however many answers run
UPDATES = 250  # a second, for all pages together
PAGE_FAILED = {
    "message": "The chat page failed. The relay's log says why.",
    "code": "internal_error",
    "status": 500,
}
UNSAVED = "this answer could not be saved: {}"
ASKED = {
    "stream": True,
    "stream_options": {"include_usage": True},
    "truncation": "auto",  # a thread may go on for ever
}
"""What every turn asks for."""
OnEnd = Callable[["Turn"], None]
log = logging.getLogger(__name__)


class Turn:
    """One answer, running or ended. `Turns.start` makes them."""

    def __init__(self, message: Message, slot: str, load: Callable[[], int]) -> None:
        self.slot = slot
        self.kept = asyncio.Event()
        """Its end is in the store, or it is known that it cannot be saved."""
        self._message = message
        self._noted = list(message["notes"])
        self._load = load
        self._reply = Reply()
        self._seen = 0
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._fault = False

    @property
    def version(self) -> int:
        """Rises with every change."""
        return self._reply.version

    @property
    def running(self) -> bool:
        return not self._reply.ended

    @property
    def message(self) -> Message:
        """The answer as far as it has come; the same dict grows."""
        if self._seen != self._reply.version:
            self._seen = self._reply.version
            self._message.update(self._grown())
        return self._message

    def stop(self) -> None:
        """End the answer where it is. The upstream is closed."""
        if self._task is not None and not self._task.done():
            self._stopped = True
            self._task.cancel()

    async def updates(self, pace: float = PACE) -> AsyncGenerator[None, None]:
        """At once, and whenever there is more to show; ends after the end was shown, and what was
        noted when that was saved.

        Updates are at least `pace` seconds apart, and more when many answers run.
        """
        seen, ended = self.version, not self.running
        yield
        while not ended:
            await self._reply.newer(seen)
            seen, ended = self.version, not self.running
            yield
            if not ended:
                await self._reply.end_within(max(pace, paced(self._load())))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SAVED_WITHIN):
                await self.kept.wait()
        if self.version != seen:
            yield

    async def begun(self, within: float) -> None:
        """Wait until there is something to show, or the end, at most so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self.running and not (self._reply.text or self._reply.reasoning):
                    await self._reply.newer(self.version)

    def begin(self, relay: Relay, params: Mapping[str, Any], owner: str = "") -> None:
        """Ask for the answer, for whoever the conversation belongs to."""
        task = asyncio.create_task(self._receive(relay, params, owner), name="chat page answer")
        task.add_done_callback(lambda _: self._reply.end())
        self._task = task

    async def _receive(self, relay: Relay, params: Mapping[str, Any], owner: str) -> None:
        try:
            await self._reply.receive(relay, params, **asking_for(owner))
        except Exception:
            log.exception("the chat page failed")
            self._fault = True

    def note(self, phrase: str) -> None:
        """Add to what is said under the answer."""
        self._reply.note(phrase)

    async def changes(self, pace: float) -> AsyncGenerator[None, None]:
        async with aclosing(self._reply.updates(pace)) as updates:
            async for _ in updates:
                yield

    def _grown(self) -> dict[str, Any]:
        """What the reply makes of the message."""
        reply = self._reply
        aloud, text = parted(reply.text)
        return {
            "content": text,
            "reasoning": reply.reasoning or aloud,
            "state": self._state(),
            "error": PAGE_FAILED if self._fault else error_of(reply.error),
            "notes": [*self._noted, *reply.notes],
            "finish_reason": reply.finish_reason,
            "figures": figures_of(reply),
        }

    def _state(self) -> str:
        if not self._reply.ended:
            return "running"
        if self._reply.error is not None or self._fault:
            return "failed"
        return "stopped" if self._stopped else "done"


def paced(running: int) -> float:
    """Seconds between two updates of a page while so many answers run."""
    return min(running / UPDATES, MAX_PACE)


def error_of(error: RelayError | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {"message": error.message, "code": error.code, "status": error.status}


def figures_of(reply: Reply) -> dict[str, Any]:
    """A server's own count of tokens, else the pieces that came."""
    usage = reply.usage or {}
    counted, prompt = usage.get("completion_tokens"), usage.get("prompt_tokens")
    tokens = counted if isinstance(counted, int) else None
    return thread.figures(
        None if reply.first is None else round(reply.first - reply.began, 3),
        round(reply.seconds, 3),
        tokens if tokens is not None else reply.pieces or None,
        prompt if isinstance(prompt, int) else None,
        estimated=tokens is None,
    )


class Turns:
    """The answers of all pages."""

    def __init__(self, relay: Relay, conversations: Conversations) -> None:
        self.shelf = Shelf(conversations)
        """Where conversations are, temporary ones included."""
        self._relay = relay
        self._turns: dict[tuple[str, str], dict[str, Turn]] = {}
        self._tasks: dict[Turn, asyncio.Task[None]] = {}

    def start(
        self, owner: str, conversation_id: str, slot: str, params: Mapping[str, Any],
        on_end: OnEnd | None = None, *, message: Message | None = None,
    ) -> Turn:  # fmt: skip
        """Ask for an answer: `params` is the request in OpenAI's terms, its `model` and `messages`.

        The answer's message is saved in the conversation as it grows. `message` is one made by
        `thread.answer` that is there already; without it a new one is added to the end. `slot` is
        "" in a chat and a column's number elsewhere; a slot's older turn is stopped. `on_end` is
        called after the last saving.
        """
        placed = message is not None
        model = str(params.get("model") or "")
        if message is None:
            message = thread.answer(model, server_of(self._relay, model))
            if slot:
                message["slot"] = slot
        turn = Turn(message, slot, self.count)
        turns = self._turns.setdefault((owner, conversation_id), {})
        if slot in turns:
            turns[slot].stop()
        turns[slot] = turn
        turn.begin(self._relay, {**params, **ASKED}, owner)
        keeping = self._keep(turn, owner, conversation_id, placed, on_end)
        self._tasks[turn] = asyncio.create_task(keeping, name="keep a chat page answer")
        return turn

    def running(self, owner: str, conversation_id: str) -> dict[str, Turn]:
        """The turns of a conversation by slot; each is there until its end is saved."""
        return dict(self._turns.get((owner, conversation_id), {}))

    def count(self) -> int:
        """How many answers run."""
        return len(self._tasks)

    async def stop(self, owner: str, conversation_id: str) -> None:
        """Stop a conversation's answers, and wait until what there is of them is saved."""
        turns = self.running(owner, conversation_id).values()
        tasks = [self._tasks[turn] for turn in turns if turn in self._tasks]
        for turn in turns:
            turn.stop()
        if tasks:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Stop all answers and save what is there."""
        tasks = list(self._tasks.values())
        for turn in list(self._tasks):
            turn.stop()
        if tasks:
            await asyncio.wait(tasks)

    async def _keep(
        self, turn: Turn, owner: str, id: str, placed: bool, on_end: OnEnd | None
    ) -> None:
        """Save a turn as it grows, and at its end."""
        try:
            placed = placed or await self._save(turn, owner, id, add=True)
            async with aclosing(turn.changes(SAVE_EVERY)) as changes:
                async for _ in changes:
                    placed = await self._save(turn, owner, id, add=not placed) or placed
        except Exception:
            log.exception("an answer could not be kept")
            turn.stop()
        finally:
            self._forget(turn, owner, id)
            if on_end is not None:
                on_end(turn)

    async def _save(self, turn: Turn, owner: str, id: str, *, add: bool) -> bool:
        """Whether the message is in the store now; `add` puts it to the end if it is not there."""

        def change(messages: list[Message]) -> list[Message] | None:
            message = dict(turn.message)
            if thread.place_of(messages, message["id"]) is not None:
                return thread.put(messages, message)
            if add:
                return [*messages, message]
            turn.stop()  # it was taken out meanwhile, by an edit or in another window
            return None

        try:
            await self.shelf.change(owner, id, change)
            return True
        except NotFound:
            turn.stop()  # the conversation was deleted
        except RelayError as error:
            log.warning("an answer was not saved: %s", error.message)
            if not turn.running:
                turn.note(UNSAVED.format(error.message))
        return False

    def _forget(self, turn: Turn, owner: str, id: str) -> None:
        turn.kept.set()
        self._tasks.pop(turn, None)
        turns = self._turns.get((owner, id), {})
        if turns.get(turn.slot) is turn:
            del turns[turn.slot]
        if not turns:
            self._turns.pop((owner, id), None)


def server_of(relay: AdminAPI, model: str) -> str:
    """The server string of a model, masked; "" if it is not known."""
    servers = (view.server for view in relay.deployments() if view.name == model)
    return next(servers, "")
