"""A relay and its store, for tests of what becomes of the two."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy

from ..e2e.fleet_kit import Relay
from ..proxy.kit import chat, get, post
from ..proxy.raw_client import Reply
from . import trouble
from .mix import OK
from .relays import AUTH, configured, serving

TOLD = 15.0  # seconds until the log says it
HEALED = 40.0  # seconds until what waited is in the store: tries come 15 s apart at most
TROUBLE = r"usage is not stored|keys of callers cannot be read|store .* (failed|cannot be opened)"


@dataclass
class Stored:
    """A relay with a key that only its store knows, and where its store is."""

    relay: Relay
    key: str
    url: str
    hidden: Path | None = None
    """Its file, where nobody else sees that."""

    def usage(self) -> list[str]:
        """The ids of the requests in it."""
        if self.hidden is not None:
            return trouble.seen_by(self.relay.process.pid, self.hidden)
        engine = sqlalchemy.create_engine(self.url)
        try:
            with engine.connect() as connection:
                return list(
                    connection.execute(sqlalchemy.text("SELECT request FROM usage")).scalars()
                )
        finally:
            engine.dispose()


@asynccontextmanager
async def started(folder: Path, url: str, store: str | None = None) -> AsyncIterator[Stored]:
    settings = {} if store is None else {"store": store}
    async with serving(folder, configured(folder, url, **settings)) as running:
        reply = await running.send(post({"name": "one"}, "/admin/keys", AUTH))
        assert reply.status == 201, reply.body
        path = store or f"sqlite:///{folder / 'data' / 'relay.db'}"
        yield Stored(running, reply.json()["key"], path)


async def is_troubled(running: Relay) -> bool:
    """What /health says, which needs no key."""
    reply = await running.send(get("/health"))
    assert reply.status == 200, reply.body
    return "trouble" in reply.json()


async def untroubled(running: Relay) -> None:
    """Until nothing is wrong any more: each part looks again in its own time."""
    deadline = time.monotonic() + TOLD
    while await is_troubled(running):
        assert time.monotonic() < deadline, running.output
        await asyncio.sleep(0.2)


async def ask(running: Relay, key: str | None) -> Reply:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return await running.send(post(chat(False, model=OK), headers=headers))


async def decided(running: Relay, key: str) -> None:
    """Until a good key passes, and others are refused instead of being answered 503."""
    deadline = time.monotonic() + HEALED
    while (reply := await ask(running, key)).status != 200:
        assert (reply.status, reply.error["code"]) == (503, "auth_unavailable"), reply.body
        assert time.monotonic() < deadline, running.output
        await asyncio.sleep(0.2)
    for presented in ("sk-wrong-canary-3e0d", None):
        assert (await ask(running, presented)).status == 401
