"""The conversations in an entry of h2oGPT's file of users, as the store has them.

`chat_state` is `{title: [history, ...]}` with a history for each chatbot that was shown, a list of
pairs of what the user and the model said (h2oGPT at commit a0ad1920, `gradio_runner.save_chat`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

from h2o_relay.errors import InvalidRequest

from ..thread import Message, answer, question
from .state_file import Entry

if TYPE_CHECKING:
    from h2o_relay.store import Conversations

UNNAMED = "Conversation"


def keeper(conversations: Conversations) -> Callable[[str, Entry], Awaitable[None]]:
    """What copies a user's conversations to the store, once however often it is asked."""

    async def keep(name: str, entry: Entry) -> None:
        for id, title, messages in chats(name, entry):
            try:
                await conversations.create(f"user:{name}", title=title, messages=messages, id=id)
            except InvalidRequest:
                continue  # it is there already

    return keep


def chats(name: str, entry: Entry) -> Iterator[tuple[str, str, list[Message]]]:
    """Id, title and messages of each conversation that can be read."""
    kept = entry.get("chat_state")
    for title, histories in kept.items() if isinstance(kept, dict) else ():
        for number, history in enumerate(histories if isinstance(histories, list) else ()):
            messages = list(_messages(history))
            if messages:
                key = f"{name}\0{title}\0{number}".encode("utf-8", "surrogatepass")
                id = f"h2ogpt-{hashlib.sha256(key).hexdigest()[:32]}"
                yield id, str(title).strip() or UNNAMED, messages


def _messages(history: Any) -> Iterator[Message]:
    for pair in history if isinstance(history, list) else ():
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            continue
        said, told = pair
        if isinstance(said, str) and said:
            yield question(said)
        if isinstance(told, str) and told:
            yield {**answer(""), "content": told, "state": "done"}
