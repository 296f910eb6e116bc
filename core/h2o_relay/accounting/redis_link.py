"""One connection to a Redis, on which scripts are called together: what is asked for while answers
are under way goes out as the next pipeline. So the order is kept, and a thousand requests at once
need no thousand connections.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from ..settings import SettingError

REPLY: Final = 1.0  # seconds for Redis to answer; requests wait for less
TIMEOUT: Final = 0.1  # seconds that a request waits for Redis
TURNS: Final = 8  # of the loop, in which an answer is found that came while the loop was busy
LEAVE: Final = 2.0  # seconds for what is left to be told when the relay stops
BATCH: Final = 256  # calls in one pipeline
FAILURES = (RedisError, OSError, TimeoutError)


class Script:
    """A Lua script beside this module."""

    def __init__(self, name: str) -> None:
        self.text = files(__package__).joinpath(f"{name}.lua").read_text(encoding="utf-8")
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


ADMIT: Final = Script("redis_admit")
SETTLE: Final = Script("redis_settle")
BEAT: Final = Script("redis_beat")


@dataclass(slots=True)
class Call:
    script: Script
    keys: Sequence[str]
    values: Sequence[str | int]
    answer: asyncio.Future[Any]


def shown(url: str) -> str:
    """The URL without its password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


class RedisLink:
    """Calls scripts; an answer is a future, which gets one of `FAILURES` if there is none."""

    def __init__(self, url: str) -> None:
        """Connects when it is first used. Raises SettingError, which does not repeat the URL."""
        try:
            self._redis: Redis = Redis.from_url(
                url, socket_timeout=REPLY, socket_connect_timeout=REPLY, retry=None,
                max_connections=2, decode_responses=True,
            )  # fmt: skip
        except ValueError as error:
            raise SettingError(
                "--limits-url cannot be read; write it as redis://:password@host:6379/0"
            ) from error
        self._waiting: deque[Call] = deque()
        self._sending: asyncio.Task[None] | None = None

    def call(
        self, script: Script, keys: Sequence[str], values: Sequence[str | int]
    ) -> asyncio.Future[Any]:
        """Goes out at the next turn of the loop; who no longer waits for the answer does not stop
        that.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(_seen)
        self._waiting.append(Call(script, keys, values, answer))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())
        return answer

    async def alive(self) -> bool:
        """Whether Redis answers, within the time that it has for that."""
        try:
            await self._redis.ping()
        except FAILURES:
            return False
        return True

    async def _send(self) -> None:
        while self._waiting:
            count = min(len(self._waiting), BATCH)
            calls = [self._waiting.popleft() for _ in range(count)]
            try:
                answers = await self._answers(calls)
            except asyncio.CancelledError:
                for call in calls:
                    call.answer.cancel()
                raise
            except FAILURES as error:
                answers = [error] * len(calls)
            for call, answer in zip(calls, answers, strict=True):
                if call.answer.done():
                    continue
                if isinstance(answer, Exception):
                    call.answer.set_exception(answer)
                else:
                    call.answer.set_result(answer)

    async def _answers(self, calls: list[Call]) -> list[Any]:
        async with asyncio.timeout(2 * REPLY):
            answers = await self._pipeline(calls)
            unknown = [i for i, a in enumerate(answers) if isinstance(a, NoScriptError)]
            if unknown:  # a Redis that has just started
                for script in (ADMIT, SETTLE, BEAT):
                    await self._redis.script_load(script.text)
                again = await self._pipeline([calls[i] for i in unknown])
                for i, answer in zip(unknown, again, strict=True):
                    answers[i] = answer
        return answers

    async def _pipeline(self, calls: list[Call]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for call in calls:
                pipeline.evalsha(call.script.sha, len(call.keys), *call.keys, *call.values)
            found: list[Any] = await pipeline.execute(raise_on_error=False)
            return found

    async def aclose(self) -> None:
        """Wait a moment for what is under way, then close."""
        if self._sending is not None:
            await asyncio.wait([self._sending], timeout=LEAVE)
            self._sending.cancel()
        await self._redis.aclose()


def _seen(answer: asyncio.Future[Any]) -> None:
    """A failure that nobody waits for any more is no mistake of ours."""
    if not answer.cancelled():
        answer.exception()


async def soon(answer: asyncio.Future[Any]) -> Any:
    """Raises TimeoutError after `TIMEOUT`, if it is Redis that is slow and not this process. The
    question goes on all the same.
    """
    try:
        async with asyncio.timeout(TIMEOUT):
            return await asyncio.shield(answer)
    except TimeoutError:
        for _ in range(TURNS):
            if answer.done():
                return answer.result()
            await asyncio.sleep(0)
        raise
