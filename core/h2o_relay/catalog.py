"""Looking after servers in the background: what is it, is it there, which models has it?

One task for each configured server, so that a dead or slow one holds up nobody. What was last known
stays in the registry while a server is away.
"""

from __future__ import annotations

import asyncio
import logging
import random
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches

from .errors import PluginError, RelayError, UpstreamError, UpstreamUnidentified
from .http import HttpClient
from .links import Link
from .plugins import Plugin, Plugins
from .registry import Entry, upstream_model
from .resolve import resolve
from .spec import NO_KEY
from .types import Identified, Server

FIRST_WAIT = 0.5  # seconds before a server that is away is looked at again; doubles
LONGEST_WAIT = 30.0
INSTANCE_FIELD = "h2o_relay_instance"
"""In our own model list, so that a relay that is pointed at itself notices."""
log = logging.getLogger(__name__)


class Catalog:
    """`changed` is called whenever an entry's knowledge has changed."""

    def __init__(
        self,
        plugins: Plugins,
        http: HttpClient,
        env: Mapping[str, str],
        instance: str,
        changed: Callable[[], None],
    ) -> None:
        self._plugins = plugins
        self._http = http
        self._env = env
        self._instance = instance
        self._changed = changed

    async def look_after(self, entry: Entry) -> None:
        """Until cancelled: open the server, list its models, look again from time to time."""
        wait = FIRST_WAIT
        while True:
            try:
                await self._look(entry)
            except RelayError as error:
                self._away(entry, error)
                pause, wait = wait, min(wait * 2, LONGEST_WAIT)
            except Exception as error:
                log.error("%s: its plugin failed", entry.server.shown, exc_info=error)
                self._away(entry, PluginError(f"its plugin failed: {error}"))
                pause, wait = wait, min(wait * 2, LONGEST_WAIT)
            else:
                pause = self._http.settings.refresh
                if entry.state == "mismatch":  # the model may be on its way
                    pause = min(pause, wait)
                wait = min(wait * 2, LONGEST_WAIT) if entry.state == "mismatch" else FIRST_WAIT
            self._changed()
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))

    async def _look(self, entry: Entry) -> None:
        if entry.link is None:
            server = entry.server
            if server.plugin is None:
                server = (await self._identify(server)).server
            self._open(entry, server)
        link = entry.link
        assert link is not None
        client = await link.wait_open(None)  # an engine may load a large model
        if not entry.listed:
            entry.state = "listing"
        models = await link.plugin.list_models(link.server, client)
        entry.itself = any(model.raw.get(INSTANCE_FIELD) == self._instance for model in models)
        if entry.itself:
            entry.models = []
            raise UpstreamError("this server string points at the relay itself")
        if entry.state == "offline":
            log.info("%s: back", entry.server.shown)
        entry.models, entry.listed = models, True
        self._judge(entry, link.server)

    def _open(self, entry: Entry, server: Server) -> None:
        assert server.plugin is not None
        plugin = self._plugins.get(server.plugin)
        entry.link = Link(plugin, resolve(server, entry.base_model, self._env), self._http)
        entry.link.start()
        entry.state = "opening"
        self._changed()

    def _away(self, entry: Entry, error: RelayError) -> None:
        if entry.reason != error.message:
            log.warning("%s: %s", entry.server.shown, error.message)
        entry.state = "unidentified" if isinstance(error, UpstreamUnidentified) else "offline"
        entry.reason = error.message

    @staticmethod
    def _judge(entry: Entry, server: Server) -> None:
        """Whether an entry that was listed can be used, and what is to be said of it."""
        before = entry.reason
        entry.state, entry.reason = "ready", ""
        names = [model.id for model in entry.models]
        if entry.base_model is None:
            if not names and server.model is None:
                entry.reason = "the server lists no models; name one with --base_model"
        elif upstream_model(entry.base_model, server, entry.models) is None:
            near = get_close_matches(entry.base_model, names, n=3, cutoff=0.4) or names[:3]
            more = f" and {len(names) - len(near)} more" if len(names) > len(near) else ""
            entry.state = "mismatch"
            entry.reason = (
                f"the server does not list {entry.base_model}, but {', '.join(near)}{more}"
            )
        if entry.reason != before and entry.reason:
            log.warning("%s: %s", entry.server.shown, entry.reason)

    async def _identify(self, server: Server) -> Identified:
        """Ask every plugin: whose is it? Raises UpstreamUnidentified, or what a GET raised."""
        probe = Probe(self._http, server)
        asking = [self._ask(plugin, server, probe) for plugin in self._plugins.usable()]
        try:
            answers = [answer for answer in await asyncio.gather(*asking) if answer is not None]
        finally:
            await probe.close()
        if not answers:
            if probe.answered or probe.error is None:
                raise UpstreamUnidentified(
                    "the server answers, but no installed plugin recognises it"
                )
            raise probe.error
        best = max(answer.rank for answer in answers)
        winners = [answer for answer in answers if answer.rank == best]
        if len(winners) > 1:
            names = " and ".join(sorted(str(winner.server.plugin) for winner in winners))
            raise UpstreamUnidentified(
                f"{names} both take this server for theirs; name one as a prefix"
            )
        return replace(winners[0], server=_kept(server, winners[0].server))

    @staticmethod
    async def _ask(plugin: Plugin, server: Server, probe: Probe) -> Identified | None:
        if plugin.identify is None:
            return None
        try:
            return await plugin.identify(server, probe.get)
        except Exception as error:
            log.debug("plugin %s could not tell %s", plugin.name, server.shown, exc_info=error)
            return None


def _kept(server: Server, found: Server) -> Server:
    """The server that a plugin recognised, with what the operator had said of it."""
    key = server.key if found.key in (None, NO_KEY) and server.key else found.key
    return replace(found, shown=server.shown, key=key, model=found.model or server.model)


class Probe:
    """GETs below a bare URL, each path once however many plugins ask for it.

    A URL that ends in /v1 is probed from above it.
    """

    def __init__(self, http: HttpClient, server: Server) -> None:
        base = (server.url or "").rstrip("/").removesuffix("/v1")
        self._http = http.at(base, server.headers)
        self._basic: HttpClient | None = None
        if server.user is not None and "authorization" not in server.headers:
            pair = f"{server.user}:{server.password or ''}".encode()
            basic = {"authorization": f"Basic {b64encode(pair).decode()}"}
            self._basic = http.at(base, {**server.headers, **basic})
        self._got: dict[str, asyncio.Task[tuple[int, Mapping[str, str], bytes]]] = {}
        self.error: RelayError | None = None
        self.answered = False

    async def get(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of a path. Raises RelayError."""
        if path not in self._got:
            self._got[path] = asyncio.create_task(self._get(path or "/"))
        try:
            answer = await asyncio.shield(self._got[path])
        except RelayError as error:
            self.error = error
            raise
        self.answered = True
        return answer

    async def _get(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        """With user and password only where they are asked for: they may be a Gradio login's."""
        answer = await self._http.get(path)
        if answer[0] == 401 and self._basic is not None:
            return await self._basic.get(path)
        return answer

    async def close(self) -> None:
        """Give up what nobody waits for any more."""
        for task in self._got.values():
            task.cancel()
        await asyncio.gather(*self._got.values(), return_exceptions=True)
