"""One worker: python -m h2o_relay_proxy.workers.process CHANNEL SOCKET [INNER], numbers of open
sockets that a coordinator (`crew.py`) hands over.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

from h2o_relay.commands.logs import log_to_stderr
from h2o_relay.workers.channel import Channel, ChannelClosed, Handlers
from h2o_relay.workers.following import FollowingKernel

from ..app import create_app
from ..listening import LEAVING, Server, running, signals
from ..opening import Opened, opened_desk
from ..server import closed, run, settle_memory
from .log_lines import forwarded
from .remote_admin import RemoteAdmin
from .shared import Sharing
from .shared_kept import SharedKept
from .shared_metrics import Telling
from .welcome import Welcome


def main(numbers: list[str]) -> int:
    control, *listening = (socket.socket(fileno=int(number)) for number in numbers)
    try:
        return run(_work(control, listening))
    except ChannelClosed:
        return 1  # the coordinator is gone


async def _work(control: socket.socket, listening: list[socket.socket]) -> int:
    leaving = asyncio.Event()
    handlers: Handlers = {"leave": leaving.set, "hurry": lambda _: leaving.set()}
    channel = await Channel.over(control, handlers)
    told: Welcome = await channel.ask("welcome")
    settings = told.settings
    log_to_stderr(settings.log_level, settings.log_format)
    kernel = FollowingKernel(settings, told.instance, told.created)
    handlers.update(kernel.handlers)
    with forwarded(channel), ignored():
        async with kernel, kernel.following(channel), _counting(channel, kernel, told) as opened:
            await _soon(kernel.first, channel)
            app = create_app(
                kernel, settings if settings.serves_api else closed(settings, told.key),
                told.instance, RemoteAdmin(channel, kernel), told.key, opened.desk, opened.keys,
                SharedKept(channel),
            )  # fmt: skip
            async with running(app, settings, *listening, heeds=False) as server:
                obeyed(server, channel, leaving)
                settle_memory()
                server.company = Company(channel)
                channel.say("ready")
                await server.stopped.wait()
            kernel.tell_counts()
    channel.close()
    return server.status


@contextlib.asynccontextmanager
async def _counting(
    channel: Channel, kernel: FollowingKernel, told: Welcome
) -> AsyncIterator[Opened]:
    """A desk whose parts share with those of other workers."""
    sharing = Sharing(channel, told.name)
    async with opened_desk(
        kernel, told.settings, lambda: kernel.prices, told.key, sharing
    ) as opened:
        telling = None
        if opened.metrics is not None:
            telling = Telling(opened.metrics)
            opened.metrics.together = lambda: channel.ask("metrics")
            channel.handlers["counted"] = telling.counted
        sharing.follow(opened.usage)
        yield opened
        if telling is not None:
            channel.say("last", telling.counted())


def obeyed(server: Server, channel: Channel, leaving: asyncio.Event) -> None:
    """Have the server leave when the coordinator says so, has said so, or is gone."""

    def alone() -> None:
        for each in server.servers:
            each.close()  # another relay may have the port
        server.signalled(signal.SIGTERM)
        server.signalled(signal.SIGTERM)  # its engines are gone, too: there is no time

    channel.handlers.update(leave=server.leave, hurry=server.signalled)
    if leaving.is_set():
        server.leave()
    channel.closed.add_done_callback(lambda _: alone())


class Company:
    """Workers leave together: the last one's answers are waited for."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._told: int | None = None
        self._done = False
        channel.handlers["done"] = self._leave

    def __call__(self, running: int) -> bool:
        if running != self._told:
            self._told = running
            self._channel.say("running", running)
        return not self._done

    def _leave(self) -> None:
        self._done = True


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Signals that are meant for all processes are the coordinator's to see to."""
    with signals(dict.fromkeys(LEAVING, lambda: None)):
        yield


async def _soon(event: asyncio.Event, channel: Channel) -> None:
    """Wait for it. Raises ChannelClosed."""
    waiting = asyncio.create_task(event.wait())
    ends: list[asyncio.Future[Any]] = [waiting, channel.closed]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        raise ChannelClosed("The coordinator is gone.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
