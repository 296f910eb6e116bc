"""A real API in front of the echo backend, and one user's chats in front of that."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from h2o_relay.administration import Administration
from h2o_relay.kernel import Given, Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.remote import RemoteKernel
from h2o_relay.settings import Settings
from h2o_relay.store import Conversations, Store
from h2o_relay.testing import echo
from h2o_relay.testing.settings import quick
from h2o_relay_proxy.app import create_app
from h2o_relay_proxy.ports import address, bind
from h2o_relay_proxy.server import running
from h2o_relay_ui.chats import NEW, Chats
from h2o_relay_ui.context import Context, User
from h2o_relay_ui.showing import shown
from h2o_relay_ui.thread import Message
from h2o_relay_ui.turns import Turn, Turns

KEY = "sk-page-canary-7d31"
INTERNAL = "internal-canary-3b1f"
ME = "somebody"


@contextlib.asynccontextmanager
async def api(
    *servers: Given, plugins: Plugins | None = None, **changes: Any
) -> AsyncIterator[tuple[str, Settings]]:
    """The API's address, without /v1, and its settings; its plugin is the echo by default, and its
    /admin takes `INTERNAL`.
    """
    settings = quick(**changes)
    echo.journal.clear()
    plugins = plugins or Plugins.of(echo=echo)
    async with Kernel(settings, servers or ["echo"], plugins) as kernel:
        await kernel.settled(20)
        sock = bind("127.0.0.1", 0)
        url = address(sock)
        app = create_app(kernel, settings, kernel.instance, Administration(kernel, None), INTERNAL)
        async with running(app, settings, sock):
            yield url, settings


@dataclass
class Talk:
    """One user's chats over a relay."""

    context: Context
    chats: Chats
    id: str = NEW
    """The chat that `ask` goes on with."""

    async def ask(
        self, text: str, model: str | None = None, texts: Mapping[str, str] | None = None
    ) -> list[Message]:
        """Put a question and wait for the answer's end: the chat's messages."""
        turn = await self.begin(text, model, texts)
        async with aclosing(turn.updates(0)) as updates:
            async for _ in updates:
                pass
        return (await self.chats.open(self.id)).messages

    async def begin(
        self, text: str, model: str | None = None, texts: Mapping[str, str] | None = None
    ) -> Turn:
        """The answer to a question, as it runs."""
        first = self.context.relay.deployments()[0].name
        chat = await self.chats.ask(self.id, text, [], model or first, texts or {})
        self.id = chat.id
        turn = self.chats.turn(self.id)
        assert turn is not None
        return turn


@contextlib.asynccontextmanager
async def talk(relay: Any, owner: str = ME) -> AsyncIterator[Talk]:
    """A user's chats over `relay`, in a store in memory."""
    async with Store("sqlite://") as store:
        conversations = Conversations(store)
        turns = Turns(relay, conversations)
        context = Context(
            relay=relay, settings=quick(), conversations=conversations, votes=None,  # type: ignore[arg-type]
            turns=turns, user=lambda _: User(owner=owner),
        )  # fmt: skip
        try:
            yield Talk(context, Chats(context, owner))
        finally:
            await turns.close()


@contextlib.asynccontextmanager
async def over_api(*servers: Given, **changes: Any) -> AsyncIterator[Talk]:
    """A user's chats, asking a real API over a socket."""
    async with (
        api(*servers, **changes) as (url, _),
        RemoteKernel(url, INTERNAL, quick()) as relay,
        talk(relay) as one,
    ):
        await relay.settled(10)
        yield one


def lines(messages: list[Message]) -> list[str]:
    """The texts of the Chatbot's rows, without the backslashes that escape markup."""
    texts = [part.get("text", "") for row in shown(messages) for part in row["content"]]
    return [text.replace("\\", "") for text in texts]
