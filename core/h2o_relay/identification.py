"""Whose is the server behind a bare URL? Every plugin is asked at the same time, and answers from
GETs alone (its `identify` hook).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace

from .errors import RelayError, UpstreamUnidentified
from .plugins import Plugin, Plugins
from .probe import Probe
from .spec import NO_KEY
from .types import Identified, Server

PRODUCT = 50
"""The rank of a plugin that knows a particular product (`Identified.rank`)."""
LEEWAY = 3.0  # seconds that the other plugins have left once one knows the product
log = logging.getLogger(__name__)


async def identify(plugins: Plugins, probe: Probe) -> Identified:
    """The server as the plugin of the highest rank found it, within `request_timeout`.

    Raises UpstreamUnidentified if it is nobody's, more than one's, or redirects; else what the
    GETs raised if none was answered.
    """
    answers = await _answers(plugins.usable(), probe)
    if not answers:
        raise probe.fault()
    best = max(answer.rank for answer in answers)
    winners = [answer for answer in answers if answer.rank == best]
    if len(winners) > 1:
        names = " and ".join(sorted(str(winner.server.plugin) for winner in winners))
        raise UpstreamUnidentified(
            f"{names} both take this server for theirs; name one as a prefix"
        )
    return replace(winners[0], server=_kept(probe, winners[0].server))


async def _answers(plugins: Iterable[Plugin], probe: Probe) -> list[Identified]:
    """What the plugins say that recognise the server. One that waits for a path that never
    answers holds up no other for longer than it must.
    """
    now = asyncio.get_running_loop().time
    deadline = now() + probe.seconds
    waiting = {asyncio.create_task(_ask(plugin, probe)) for plugin in plugins if plugin.identify}
    found: list[Identified] = []
    try:
        while waiting:
            done, waiting = await asyncio.wait(
                waiting, timeout=max(0.0, deadline - now()), return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            found += [answer for task in done if (answer := task.result()) is not None]
            if any(answer.rank >= PRODUCT for answer in found):
                deadline = min(deadline, now() + LEEWAY)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    return found


async def _ask(plugin: Plugin, probe: Probe) -> Identified | None:
    if plugin.identify is None:
        return None
    try:
        answer = await plugin.identify(probe.server, probe.get)
    except RelayError:
        return None  # the probe remembers why
    except Exception as error:
        log.debug("plugin %s could not tell %s", plugin.name, probe.server.shown, exc_info=error)
        return None
    if answer is not None and not isinstance(answer, Identified):
        log.warning("plugin %s: identify returned %s", plugin.name, type(answer).__name__)
        return None
    return answer


def _kept(probe: Probe, found: Server) -> Server:
    """The server that a plugin recognised, with what the operator had said of it."""
    given = probe.server
    key = given.key if found.key in (None, NO_KEY) and given.key else found.key
    headers = found.headers
    basic = probe.authorization
    if basic and basic.startswith("Basic ") and "authorization" not in headers:
        headers = {**headers, "authorization": basic}  # it is what the server asked for and took
    return replace(
        found, shown=given.shown, key=key, headers=headers, model=found.model or given.model
    )
