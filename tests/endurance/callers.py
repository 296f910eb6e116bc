"""Callers who ask what `mix` has drawn, many at a time, and a ledger of what each was answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from h2o_relay.testing.bench import Bench
from h2o_relay.testing.upstream import Answer, Received

from ..proxy.raw_client import Client, Reply
from .mix import Kind

LONGEST = 60.0  # seconds for one answer: more is no answer
AT_ONCE = 24  # callers


class Watched(Bench):
    """A bench that tells which requests have reached it, by their `user`."""

    def __init__(self, also: Sequence[str] = ()) -> None:
        super().__init__(also=also)
        self._wanted: dict[str, asyncio.Event] = {}

    @contextlib.contextmanager
    def awaited(self, id: str) -> Iterator[asyncio.Event]:
        """What is set once the request is here."""
        self._wanted[id] = event = asyncio.Event()
        try:
            yield event
        finally:
            del self._wanted[id]

    async def _answer(self, request: Received, answer: Answer) -> None:
        if self._wanted and request.method == "POST":
            with contextlib.suppress(orjson.JSONDecodeError):
                event = self._wanted.get(request.json().get("user"))
                if event is not None:
                    event.set()
        await super()._answer(request, answer)


@dataclass(slots=True)
class Seen:
    """What became of one request, as its caller saw it."""

    kind: Kind
    status: int | None = None
    """None if the caller left before there was one, or the relay was killed."""
    code: str | None = None
    complete: bool = False
    at: float = 0.0
    """The loop's time at its end."""


@dataclass
class Ledger:
    """By the requests' ids."""

    seen: dict[str, Seen] = field(default_factory=dict)

    def wrong(self) -> dict[str, int]:
        """What nobody may be answered, and how often that was."""
        odd: Counter[str] = Counter()
        for one in self.seen.values():
            kind = one.kind
            if kind.leaves:
                good = one.status in (None, *kind.statuses)
            else:
                good = one.status in kind.statuses and one.complete
                if one.status == 200:
                    good = good and one.code == kind.code
            if not good:
                odd[f"{kind.name}: {one.status} {one.code} {one.complete}"] += 1
        return dict(odd)

    @property
    def left(self) -> set[str]:
        """Whose callers left."""
        return {id for id, one in self.seen.items() if one.kind.leaves}


class Callers:
    """`async with Callers(port, key, bench)`; `ask` as often as you like, then read `ledger`."""

    def __init__(self, port: int, key: str, bench: Watched, prefix: str = "mix") -> None:
        self.port, self.key, self.bench, self.prefix = port, key, bench, prefix
        self.ledger = Ledger()
        self._count = 0

    async def ask(self, kinds: Iterable[Kind], at_once: int = AT_ONCE) -> None:
        """Ask all of these, `at_once` at a time. Raises a group of what connections that break off
        raise: OSError, EOFError.
        """
        waiting = iter(kinds)
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(self._one_caller(waiting))

    async def _one_caller(self, waiting: Iterator[Kind]) -> None:
        async with contextlib.AsyncExitStack() as stack:
            client: Client | None = None
            for kind in waiting:
                if client is None:
                    client = await stack.enter_async_context(self._connected())
                if not await self._asked(client, kind):
                    await stack.aclose()
                    client = None

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        try:
            yield client
        finally:
            await client.close()

    async def _asked(self, client: Client, kind: Kind) -> bool:
        """Whether the connection is still good."""
        self._count += 1
        id = f"{self.prefix}-{self._count}"
        seen = self.ledger.seen[id] = Seen(kind)
        data = kind.wire(id, self.key, orjson.dumps)
        try:
            async with asyncio.timeout(LONGEST):
                if kind.leaves:
                    await self._leave(client, kind, id, data, seen)
                    return False
                await client.send(data)
                reply = await client.reply(LONGEST)
        finally:
            seen.at = asyncio.get_running_loop().time()
        assert reply.headers["x-request-id"] == id, (reply.headers, id)
        seen.status, seen.complete, seen.code = reply.status, reply.complete, code_of(reply)
        return reply.complete and reply.headers.get("connection") != "close"

    async def _leave(self, client: Client, kind: Kind, id: str, data: bytes, seen: Seen) -> None:
        """Only once the relay is known to have the request: before that nobody can tell of it."""
        if kind.leaves == "in the body":
            head, _, body = data.partition(b"\r\n\r\n")
            await client.send(head + b"\r\n\r\n")
            assert (await client.head()).status == 100
            await client.send(body[: len(body) // 2])
        elif kind.leaves == "waiting":
            with self.bench.awaited(id) as there:
                await client.send(data)
                await there.wait()
        else:
            await client.send(data)
            seen.status = (await client.head()).status
            await client.piece()
        client.reset()


def code_of(reply: Reply) -> str | None:
    """The code of an error, also of one in mid-stream; Anthropic's errors have none."""
    if not reply.complete:
        return None
    if reply.status == 200:
        last = reply.body.rstrip().rpartition(b"\n\n")[2]
        if b'"error"' not in last or not last.startswith(b"data: {"):
            return None
        return _code(orjson.loads(last.removeprefix(b"data: ")))
    return _code(orjson.loads(reply.body))


def _code(data: Any) -> str | None:
    error = data.get("error") if isinstance(data, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) else None
