"""What h2oGPT's endpoints do, free of Gradio."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from importlib.metadata import version
from typing import Any

from h2o_relay.api_keys import ApiKeys
from h2o_relay.errors import ModelNotFound, PluginError, RelayError

from ..context import Relay
from ..reply import receiving
from . import telling
from .order import Order, argument, order, wanted

LIST_WAIT = 3.0  # seconds for the first list of models
PACE = 0.1  # seconds between two tellings of an answer, each of which is whole
ALIVE = 1.0  # seconds of silence after which it is told again: only so is a caller who left noticed
FAULT = "The chat page failed. The relay's log says why."
log = logging.getLogger(__name__)


class Service:
    """Asks the kernel on behalf of callers, each of whom presents a key where one is needed."""

    def __init__(self, relay: Relay, keys: ApiKeys) -> None:
        self._relay = relay
        self._keys = keys
        self._instance = ""

    async def models(self) -> list[dict[str, Any]]:
        """The models that can be asked for, in the order of their numbers."""
        if not self._relay.models():
            await self._relay.settled(LIST_WAIT)
        views = {view.name: view for view in self._relay.deployments()}
        return telling.models(self._relay.models(), views, await self._name())

    async def _name(self) -> str:
        """Which relay this is, so that one that is pointed at its own page notices."""
        if not self._instance:
            with contextlib.suppress(RelayError):
                self._instance = (await self._relay.system()).instance
        return self._instance

    async def answers(self, given: Any) -> AsyncGenerator[dict[str, Any]]:
        """The answer as it grows, the last one complete; blank until then where the caller does
        not want it to be streamed.

        What goes wrong is told as h2oGPT tells it, and raised as RelayError. Closing the iterator
        closes the upstream.
        """
        try:
            async with aclosing(self._answers(given)) as told:
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

    async def _answers(self, given: Any) -> AsyncGenerator[dict[str, Any]]:
        asked = argument(given)
        if not self._keys.admits(asked.get("h2ogpt_key")):
            yield telling.refused_key()
            return
        wish = order(asked)
        model = await self._model(asked)
        if not wish.instruction:
            yield telling.final(wish, model or "", None, 0.0)
            return
        async with aclosing(self._asked(wish, model)) as told:
            async for one in told:
                yield one

    async def _asked(self, wish: Order, model: str | None) -> AsyncGenerator[dict[str, Any]]:
        clock = asyncio.get_running_loop().time
        start = clock()
        params = {
            **wish.params, **({"model": model} if model else {}), "stream": True,
            "stream_options": {"include_usage": True}, "truncation": "auto",
        }  # fmt: skip
        alive = min(ALIVE, wish.seconds or ALIVE)
        async with (
            receiving(self._relay, params, set()) as reply,
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

    async def _model(self, asked: Mapping[str, Any]) -> str | None:
        """The model's name, the first one's where none is asked for; None while there is none."""
        wish = wanted(asked)
        models = await self.models()
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


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 6


def system_hash() -> str:
    """40 hex digits that change with the relay's version, as h2oGPT's commit does."""
    return hashlib.sha1(version("h2o-relay").encode(), usedforsecurity=False).hexdigest()
