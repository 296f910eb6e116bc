"""What the chat tab's events do, free of Gradio: ask, ask again, edit, take back.

Everything is done to the conversation as the store has it now, not as a page shows it: another
window may have changed it. All methods raise RelayError with a message for their reader.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from h2o_relay.admin import DeploymentView
from h2o_relay.errors import InvalidRequest, NotFound, UpstreamUnavailable
from h2o_relay.health import ANSWERING
from h2o_relay.store import Conversation
from h2o_relay.trimming import trimmed

from . import options, thread
from .context import Context
from .conversation import content_of, for_model, images_of, text_of
from .shelf import MISSING
from .showing import places
from .thread import Message
from .turns import Turn

KIND = "chat"
NEW, NEW_TEMPORARY = "", "t-"
"""Instead of a conversation's id: one that is made with its first question."""
BUSY = "An answer is still coming in this chat. Stop it, or wait for its end."
CHANGED = "This chat was changed in another window. It is shown as it is now."
NO_MODEL = "The relay has no model yet. It may still be loading one."
NO_CHOICE = "Choose a model first."
BLIND = "{} does not take images. Remove them, or choose another model."
AT_ONCE = 0.04  # seconds that a question waits for the first of its answer, to be shown with it
RESERVE = 256  # tokens kept for an answer whose length is not limited
LEFT_OUT = "{} of the oldest messages were left out to stay within {:,} tokens, as estimated"
TOO_LONG = "the last message alone is estimated to be longer than {:,} tokens: it was sent alone"
Texts = Mapping[str, str]


class Chats:
    """One user's chats."""

    def __init__(self, context: Context, owner: str) -> None:
        self._context = context
        self._owner = owner
        self._shelf = context.turns.shelf
        self._starting: set[tuple[str, str]] = context.extra.setdefault("chats starting", set())

    async def open(self, id: str) -> Conversation:
        """A conversation as it is now, with what is running in it."""
        before = self._growing(id)  # an answer may end, and be gone, while the store is read
        conversation = await self._shelf.get(self._owner, id)
        if conversation.kind != KIND:
            raise NotFound(MISSING)
        growing = {**before, **self._growing(id)}
        conversation.messages = thread.settled(conversation.messages, growing)
        return conversation

    def turn(self, id: str) -> Turn | None:
        """The answer that is running in a conversation."""
        return self._context.turns.running(self._owner, id).get("") if id else None

    def stop(self, id: str) -> None:
        turn = self.turn(id)
        if turn is not None:
            turn.stop()

    async def ask(
        self, id: str, text: str, images: list[str], model: str | None, texts: Texts
    ) -> Conversation:
        """Put a question, in a new conversation where `id` is `NEW` or `NEW_TEMPORARY`."""
        wishes, view = options.read(texts), self._model(model)
        if images and view.vision is False:
            raise InvalidRequest(BLIND.format(view.name))
        question = thread.question(content_of(text, images))
        if id in (NEW, NEW_TEMPORARY):
            conversation = await self._shelf.create(
                self._owner, temporary=id == NEW_TEMPORARY, title=thread.title_of([question])
            )
            id = conversation.id
        return await self._answer(id, view, wishes, texts, lambda messages: [*messages, question])

    async def again(self, id: str, model: str | None, texts: Texts) -> Conversation:
        """Ask the last question again; what followed it is dropped."""
        wishes, view = options.read(texts), self._model(model)

        def change(messages: list[Message]) -> list[Message]:
            place = thread.last_question(messages)
            if place is None:
                raise InvalidRequest("There is no question to ask again.")
            return messages[: place + 1]

        return await self._answer(id, view, wishes, texts, change)

    async def edit(
        self, id: str, row: int, before: str, text: str, model: str | None, texts: Texts
    ) -> Conversation:
        """Change an earlier question and ask it; what followed it is dropped.

        `row` is its place in the Chatbot, `before` its text there.
        """
        wishes, view = options.read(texts), self._model(model)
        if not text.strip():
            raise InvalidRequest("A question cannot be empty.")

        def change(messages: list[Message]) -> list[Message]:
            shown = places(thread.settled(messages, {}))
            place = shown[row] if 0 <= row < len(shown) else None
            old = messages[place] if place is not None else {}
            if place is None or old.get("role") != "user" or text_of(old) != before:
                raise InvalidRequest(CHANGED)
            return [*messages[:place], thread.question(content_of(text, images_of(old)))]

        return await self._answer(id, view, wishes, texts, change)

    async def undo(self, id: str) -> tuple[Conversation, Message | None]:
        """Take the last question back, with its answer; the question, if there was one."""
        taken: list[Message] = []

        def change(messages: list[Message]) -> list[Message] | None:
            place = thread.last_question(messages)
            if place is None:
                return None
            taken.append(messages[place])
            return messages[:place]

        with self._claimed(id):
            conversation = await self._shelf.change(self._owner, id, change)
        return conversation, taken[0] if taken else None

    async def choose(self, id: str, model: str | None) -> Conversation:
        """Remember another model in a conversation; its next question goes there."""
        conversation = await self.open(id)
        if model and conversation.settings.get("model") != model:
            conversation.settings = {**conversation.settings, "model": model}
            await self._shelf.save(self._owner, id, settings=conversation.settings)
        return conversation

    async def _answer(
        self, id: str, view: DeploymentView, wishes: dict[str, Any], texts: Texts, change: Any
    ) -> Conversation:
        """Change the messages, and start an answer behind them."""
        answer = thread.answer(view.name, view.server)
        with self._claimed(id):
            # The answer before has ended; until it is stored its end would not be told.
            await self._context.turns.stop(self._owner, id)
            conversation = await self._shelf.change(
                self._owner, id, lambda messages: [*change(messages), answer]
            )
            params = await _params(conversation.messages[:-1], wishes, answer)
            kept = {**conversation.settings, "model": view.name, "options": dict(texts)}
            if kept != conversation.settings:
                await self._shelf.save(self._owner, id, settings=kept)
                conversation.settings = kept
            turn = self._context.turns.start(
                self._owner, id, "", {"model": view.name, **params}, message=answer
            )
        # A server that answers at once is shown with the question: a round trip of the page less.
        await turn.begun(AT_ONCE)
        growing = {answer["id"]: {**turn.message, "state": "running"}}  # its end is told by `watch`
        conversation.messages = thread.settled(conversation.messages, growing)
        return conversation

    @contextlib.contextmanager
    def _claimed(self, id: str) -> Iterator[None]:
        """Nobody else starts an answer in this conversation meanwhile. Raises InvalidRequest where
        one runs.
        """
        turn, key = self.turn(id), (self._owner, id)
        if key in self._starting or (turn is not None and turn.running):
            raise InvalidRequest(BUSY)
        self._starting.add(key)
        try:
            yield
        finally:
            self._starting.discard(key)

    def _growing(self, id: str) -> dict[str, Message]:
        """What is running in a conversation, by its message's id."""
        turns = self._context.turns.running(self._owner, id).values()
        return {turn.message["id"]: turn.message for turn in turns}

    def _model(self, name: str | None) -> DeploymentView:
        """What answers; a name that is not known is asked for all the same, and refused there."""
        views = [view for view in self._context.relay.deployments() if view.name]
        found = next((view for view in views if view.name == name), None)
        if found is not None:
            return found
        if not views:
            raise UpstreamUnavailable(problem(self._context))
        raise InvalidRequest(f"{name} is not there any more. {NO_CHOICE}" if name else NO_CHOICE)


def problem(context: Context) -> str:
    """Why there is no model, as far as that is known."""
    away = [status for status in context.relay.status() if status.state not in ANSWERING]
    return "; ".join(status.reason for status in away if status.reason) or NO_MODEL


async def _params(
    messages: list[Message], wishes: dict[str, Any], answer: Message
) -> dict[str, Any]:
    """The request in OpenAI's terms. What is left out of it is noted in `answer`."""
    given = dict(wishes)
    system, context = given.pop("system", ""), given.pop("context", None)
    told = for_model(messages, system)
    if context is not None:
        reserve = min(given.get("max_tokens", RESERVE), context // 2)
        fitted = await trimmed(told, _uncounted, context, reserve)
        if fitted is None:
            told = [m for m in told[:-1] if m["role"] == "system"] + told[-1:]
            answer["notes"] = [TOO_LONG.format(context)]
        elif fitted.dropped:
            told = [dict(message) for message in fitted.messages]
            answer["notes"] = [LEFT_OUT.format(fitted.dropped, context)]
    return {"messages": told, **given}


async def _uncounted(_: Any) -> None:
    """Nothing counts here: tokens are estimated."""
