"""A coordinator's slices of limits (`accounting/slices.py`) over a channel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..accounting.caller import Caller, Period
from ..accounting.slices import Back, Coordinator, Slice
from .channel import Channel, Handlers


class RemoteSlices:
    """`Slices`, for the worker at this end of a channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def take(self, worker: str, caller: Caller, tokens: int, cost: int) -> Slice:
        found: Slice = await self._channel.ask(
            "take", worker, caller, tokens, cost, unwanted=self._unwanted
        )
        return found

    def give(self, number: int, back: Back) -> None:
        self._channel.say("give", number, back)

    def seed(self, key: str, period: Period, spent: int) -> None:
        """The coordinator asks the store itself."""

    def _unwanted(self, found: Slice) -> None:
        """Who asked for it has left: nothing of it was used."""
        amounts = replace(found.amounts)
        self.give(found.number, Back(amounts=amounts, settled=amounts.cost, closed=True, last=True))


def slices_handlers(coordinator: Coordinator) -> Handlers:
    """What a coordinator's end of a channel does with `RemoteSlices`."""

    def take(worker: str, caller: Caller, tokens: int, cost: int) -> Any:
        return coordinator.take(worker, caller, tokens, cost)

    return {"take": take, "give": coordinator.give}
