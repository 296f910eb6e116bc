"""What h2oGPT's endpoints do, free of Gradio."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import math
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from importlib.metadata import version
from typing import Any

from h2o_relay.accounting.caller import OPEN, Caller
from h2o_relay.accounting.limits import allows
from h2o_relay.errors import ModelNotFound, PluginError, RelayError, Unauthorized

from ..context import Relay, asking_for
from ..reply import Reply, receiving
from . import telling
from .order import Order, argument, order, wanted

LIST_WAIT = 3.0  # seconds for the first list of models
PACE = 0.1  # seconds between two tellings of an answer, each of which is whole
ALIVE = 1.0  # seconds of silence after which it is told again: only so is a caller who left noticed
FRESH = 2.0  # seconds for which a good key is taken to be good
KEPT = 1000  # keys
FAULT = "The chat page failed. The relay's log says why."
log = logging.getLogger(__name__)


class Service:
    """Asks the kernel on behalf of callers, each of whom presents a key where one is needed."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._instance = ""
        self._known: dict[str, tuple[float, Caller]] = {}

    async def models(self, caller: Caller = OPEN) -> list[dict[str, Any]]:
        """The models that a caller may ask for, in the order of their numbers."""
        if not self._relay.models():
            await self._relay.settled(LIST_WAIT)
        views = {view.name: view for view in self._relay.deployments()}
        listed = [model for model in self._relay.models() if allows(caller, model.name)]
        return telling.models(listed, views, await self._name())

    async def models_for(self, owner: str) -> list[dict[str, Any]]:
        """The same for whoever has signed in."""
        return await self.models(await self._signed_in(asking_for(owner)))

    async def _signed_in(self, whom: Mapping[str, str]) -> Caller:
        """Raises Unauthorized for the holder of a key that was revoked a moment ago."""
        if not whom.get("holder"):
            return OPEN
        found = await self._relay.caller(holder=whom["holder"])
        if found is None:
            raise Unauthorized(telling.INVALID_KEY)
        return found

    async def _name(self) -> str:
        """Which relay this is, so that one that is pointed at its own page notices."""
        if not self._instance:
            with contextlib.suppress(RelayError):
                self._instance = (await self._relay.system()).instance
        return self._instance

    async def answers(self, given: Any, owner: str = "") -> AsyncGenerator[dict[str, Any]]:
        """The answer as it grows, the last one complete; blank until then where the caller does
        not want it to be streamed. `owner` is who is signed in.

        What goes wrong is told as h2oGPT tells it, and raised as RelayError. Closing the iterator
        closes the upstream.
        """
        try:
            async with aclosing(self._answers(given, asking_for(owner))) as told:
                async for one in told:
                    yield one
        except RelayError as error:
            yield telling.failure(error)
            raise
        except Exception as error:
            log.exception("the chat page's API failed")
            fault = PluginError(FAULT)
            yield telling.failure(fault)
            raise fault from error

    async def _answers(self, given: Any, whom: Mapping[str, str]) -> AsyncGenerator[dict[str, Any]]:
        asked = argument(given)
        key = asked.get("h2ogpt_key")
        key = key if isinstance(key, str) else ""
        caller = await self._caller(key)
        if caller is None and not key and whom.get("holder"):  # the key was given to sign in
            caller = OPEN
        if caller is None:
            yield telling.refused_key()
            return
        if caller.id == OPEN.id:
            key, caller = "", await self._signed_in(whom)
        wish = order(asked)
        model = await self._model(asked, caller)
        if not wish.instruction:
            yield telling.final(wish, model or "", None, 0.0)
            return
        asking = receiving(self._relay, _params(wish, model), set(), **whom, key=key)
        try:
            async with aclosing(self._asked(wish, model, asking)) as told:
                async for one in told:
                    yield one
        except RelayError as error:
            if not key or error.code != Unauthorized.code:
                raise
            yield telling.refused_key()  # it was revoked a moment ago

    async def _caller(self, key: str) -> Caller | None:
        """The relay's word on a key. One that is good is taken to be so for a moment; the relay
        looks at it again when it is asked for the answer.
        """
        now = time.monotonic()
        at, known = self._known.get(key, (-math.inf, OPEN))
        if now - at < FRESH:
            return known
        found = await self._relay.caller(key=key)
        if len(self._known) >= KEPT:
            self._known.clear()
        if found is None:
            self._known.pop(key, None)
        else:
            self._known[key] = (now, found)
        return found

    async def _asked(
        self, wish: Order, model: str | None, asking: AbstractAsyncContextManager[Reply]
    ) -> AsyncGenerator[dict[str, Any]]:
        clock = asyncio.get_running_loop().time
        start = clock()
        alive = min(ALIVE, wish.seconds or ALIVE)
        async with (
            asking as reply,
            aclosing(reply.updates(PACE, alive)) as updates,
        ):
            async for _ in updates:
                if reply.ended or (wish.seconds and clock() - start >= wish.seconds):
                    break
                yield telling.partial(reply.text if wish.streams else "")
            if not reply.ended:
                reply.notes.append(f"max_time ended the answer after {wish.seconds} seconds")
        if reply.error is not None:
            raise reply.error
        yield telling.final(wish, model or "", reply, clock() - start)

    async def _model(self, asked: Mapping[str, Any], caller: Caller) -> str | None:
        """The model's name, the first one's where none is asked for; None while there is none."""
        wish = wanted(asked)
        models = await self.models(caller)
        names = [entry["display_name"] for entry in models]
        if wish is None:
            return next(iter(names), None)
        if wish in names:
            return str(wish)
        for entry in models:
            if entry["base_model"] == wish:
                return str(entry["display_name"])
        number = int(wish) if isinstance(wish, int) or _is_number(wish) else -1
        if not 0 <= number < len(names):
            there = ", ".join(names) or "none"
            raise ModelNotFound(
                f"The model {str(wish)[:100]!r} is not there. The models are: {there}",
                param="visible_models",
            )
        return str(names[number])


def _params(wish: Order, model: str | None) -> dict[str, Any]:
    """The request in OpenAI's terms."""
    return {
        **wish.params, **({"model": model} if model else {}), "stream": True,
        "stream_options": {"include_usage": True}, "truncation": "auto",
    }  # fmt: skip


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 6


def system_hash() -> str:
    """40 hex digits that change with the relay's version, as h2oGPT's commit does."""
    return hashlib.sha1(version("h2o-relay").encode(), usedforsecurity=False).hexdigest()
