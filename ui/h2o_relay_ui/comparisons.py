"""What is done to comparisons, free of Gradio.

A comparison is a conversation of kind `compare` or `grid`: its settings are a `Setup`, its messages
are in `rounds`. Every column's answer is a `Turn` of its own: none waits for another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from h2o_relay.errors import InvalidRequest, NotFound
from h2o_relay.store import Conversation, Summary, Vote

from . import blind, options
from .comparison import Column, Comparison, Setup
from .context import Context
from .conversation import for_model
from .rounds import answer, changed, history, question, rounds_of, with_answer
from .shelf import MISSING
from .thread import Message, settled, title_of
from .turns import Turn, server_of

NO_TEXT = "Write a message first."
NO_COLUMNS = "Add a column first."
NO_MODEL = "Choose a model in every column."


class Comparisons:
    """The comparisons of a kind, for all pages. Methods raise RelayError."""

    def __init__(self, context: Context, kind: str) -> None:
        self._context = context
        self._shelf = context.turns.shelf
        self._kind = kind
        self._revisions: Counter[tuple[str, str]] = Counter()

    def revision(self, owner: str, id: str) -> int:
        """Rises with every change but the growth of answers, which their turns tell."""
        return self._revisions[owner, id]

    def count(self) -> int:
        """Answers that run, of all pages."""
        return self._context.turns.count()

    def turns(self, owner: str, id: str) -> dict[str, Turn]:
        return self._context.turns.running(owner, id) if id else {}

    async def get(self, owner: str, id: str) -> Comparison:
        found = await self.whole(owner, id)
        return Comparison(Setup.of(found.settings), id, found.title, rounds_of(found.messages))

    async def whole(self, owner: str, id: str) -> Conversation:
        """As it is stored, with the answers as far as they have come."""
        before = self.turns(owner, id)  # one may end, and be gone, while the store is read
        found = await self._shelf.get(owner, id)
        if found.kind != self._kind:
            raise NotFound(MISSING)
        turns = [*before.values(), *self.turns(owner, id).values()]
        growing = {turn.message["id"]: turn.message for turn in turns}
        found.messages = settled(found.messages, growing)
        return found

    async def summaries(self, owner: str, limit: int) -> list[Summary]:
        """The newest first."""
        return await self._context.conversations.list(owner, kind=self._kind, limit=limit)

    async def keep(self, owner: str, id: str, setup: Setup) -> None:
        """Save how a comparison asks; answers of columns that are gone are stopped."""
        slots = {column.slot for column in setup.columns}
        for slot, turn in self.turns(owner, id).items():
            if slot not in slots:
                turn.stop()
        await self._shelf.save(owner, id, settings=setup.as_json())
        self._changed(owner, id)

    async def delete(self, owner: str, id: str) -> None:
        """With its answers that still run."""
        await self.get(owner, id)
        await self._context.turns.stop(owner, id)
        await self._shelf.delete(owner, id)
        self._changed(owner, id)

    async def ask(self, owner: str, id: str, setup: Setup, text: str) -> str:
        """A new round. Answers that still run are stopped. The comparison's id, of which a new
        one is made where there is none.
        """
        wishes = _wishes(setup)
        if not text.strip():
            raise InvalidRequest(NO_TEXT)
        if id:
            await self._context.turns.stop(owner, id)
        told = (await self.get(owner, id)).rounds if id else []
        slots = [column.slot for column in setup.columns]
        order = blind.shuffled(slots) if setup.blind else slots
        asked = question(text, order, blind=setup.blind)
        answers = [self._begun(column) for column in setup.columns]
        id = await self._added(owner, id, setup, [asked, *answers])
        for message in answers:
            heard = history(told, message["slot"], shared=setup.shared)
            self._start(owner, id, [*heard, asked], wishes, message)
        self._changed(owner, id)
        return id

    async def retry(self, owner: str, id: str, slot: str) -> None:
        """Ask a column the last question anew. A vote was on the answers as they were: after one
        nothing is asked again.
        """
        found = await self.get(owner, id)
        setup, last = found.setup, found.last
        column = next((c for c in setup.columns if c.slot == slot), None)
        if column is None or last is None or (last.question.get("blind") and last.vote):
            return
        wishes = _wishes(setup)
        message = self._begun(column)
        asked = last.question
        if slot not in last.slots:
            asked = {**asked, "slots": [*last.slots, slot]}

        def work(messages: list[Message]) -> list[Message]:
            messages = changed(messages, asked["id"], slots=asked["slots"])
            return with_answer(messages, asked["id"], message)

        await self._shelf.change(owner, id, work)
        heard = history(found.rounds[:-1], slot, shared=setup.shared)
        self._start(owner, id, [*heard, asked], wishes, message)
        self._changed(owner, id)

    def stop(self, owner: str, id: str, slot: str | None = None) -> None:
        """Stop a column's answer, or all."""
        for each, turn in self.turns(owner, id).items():
            if slot is None or each == slot:
                turn.stop()

    async def vote(self, owner: str, id: str, outcome: str) -> bool:
        """End a blind round. False where there is none that can end so (`blind.is_outcome`)."""
        ended: list[Vote | None] = []

        def work(messages: list[Message]) -> list[Message] | None:
            last = rounds_of(messages)[-1:]
            if not last or not blind.is_outcome(last[0], outcome):
                return None
            ended.append(blind.vote(last[0], outcome, id))
            return changed(messages, last[0].question["id"], vote=outcome)

        await self._ended(owner, id)
        await self._shelf.change(owner, id, work)
        for vote in ended:
            if vote is not None:
                await self._context.votes.add(owner, vote)
        self._changed(owner, id)
        return bool(ended)

    async def choose(self, owner: str, id: str, slot: str) -> None:
        """Go on with this column's answer where the history is shared."""

        def work(messages: list[Message]) -> list[Message] | None:
            last = rounds_of(messages)[-1:]
            if not last or slot not in last[0].eligible:
                return None
            return changed(messages, last[0].question["id"], chosen=slot)

        await self._ended(owner, id)
        await self._shelf.change(owner, id, work)
        self._changed(owner, id)

    async def _ended(self, owner: str, id: str) -> None:
        """Wait until answers that are over are stored, if none runs any more."""
        if not any(turn.running for turn in self.turns(owner, id).values()):
            await self._context.turns.stop(owner, id)

    def _changed(self, owner: str, id: str) -> None:
        self._revisions[owner, id] += 1

    def _begun(self, column: Column) -> Message:
        server = server_of(self._context.relay, column.model)
        return answer(column.model, server, column.slot)

    async def _added(self, owner: str, id: str, setup: Setup, new: list[Message]) -> str:
        """Save a round, in a new comparison where there is no id."""
        if id:
            await self._shelf.change(owner, id, lambda messages: [*messages, *new])
            await self._shelf.save(owner, id, settings=setup.as_json())
            return id
        made = await self._shelf.create(
            owner, kind=self._kind, title=title_of(new), settings=setup.as_json(), messages=new
        )
        return made.id

    def _start(
        self, owner: str, id: str, told: list[Message], wishes: Mapping[str, Any], message: Message
    ) -> None:
        given = dict(wishes)
        messages = for_model(told, given.pop("system", ""))
        params = {"model": message["model"], "messages": messages, **given}
        self._context.turns.start(owner, id, message["slot"], params, message=message)


def _wishes(setup: Setup) -> dict[str, Any]:
    """What is asked for besides the messages. Raises InvalidRequest for what cannot be asked."""
    if not setup.columns:
        raise InvalidRequest(NO_COLUMNS)
    if not all(column.model for column in setup.columns):
        raise InvalidRequest(NO_MODEL)
    return options.read(setup.texts)
