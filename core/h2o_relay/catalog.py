"""Looking after servers in the background: what is it, is it there, which models has it?

One task for each configured server, so that a dead or slow one holds up nobody. What was last known
stays in the registry while a server is away.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from difflib import get_close_matches

from .errors import PluginError, RelayError, UpstreamError, UpstreamUnidentified, redact
from .http import HttpClient
from .identification import identify
from .links import Link
from .plugins import Plugins
from .preparing import ignores_type
from .probe import Probe, redirect_target
from .registry import Entry, upstream_model
from .resolve import resolve
from .types import Server

FIRST_WAIT = 0.5  # seconds before a server that is away is looked at again; doubles
LONGEST_WAIT = 30.0
INSTANCE_FIELD = "h2o_relay_instance"
"""In our own model list, so that a relay that is pointed at itself notices."""
UNKNOWN = "not identified yet"
"""What is said of a bare URL until it is known whose server is behind it."""
Before = Callable[[Entry, Callable[[], None]], Awaitable[None]]
"""Given an entry and what tells others that its `reason` has changed."""
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

    async def look_after(self, entry: Entry, before: Before | None = None) -> None:
        """Until cancelled: open the server, list its models, look again from time to time.
        `before` is awaited first, and again for as long as it raises.
        """
        wait = FIRST_WAIT
        while True:
            try:
                if before is not None:
                    await before(entry, self._changed)
                    before = None
                await self._look(entry)
            except RelayError as error:
                self._away(entry, error)
                pause, wait = wait, min(wait * 2, LONGEST_WAIT)
            except Exception as error:
                log.error("%s: its plugin failed", entry.server.shown, exc_info=error)
                server = entry.link.server if entry.link else entry.server
                said = redact({"": str(error)}, server.key)[""]
                self._away(entry, PluginError(f"its plugin failed: {said}"))
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
                entry.reason = entry.reason or UNKNOWN
                async with Probe(self._http, server) as probe:
                    server = (await identify(self._plugins, probe)).server
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
        entry.state, entry.reason = "opening", ""
        self._changed()

    def _away(self, entry: Entry, error: RelayError) -> None:
        reason, unknown = error.message, isinstance(error, UpstreamUnidentified)
        target = redirect_target(error, entry.server.url)
        if target:
            reason = f"{reason}: {target}"
        if entry.server.plugin is None and entry.link is None and not unknown:
            reason = f"{UNKNOWN}: {reason}"
        if entry.reason != reason:
            log.warning("%s: %s", entry.server.shown, reason)
        entry.state = "unidentified" if unknown else "offline"
        entry.reason = reason

    @staticmethod
    def _judge(entry: Entry, server: Server) -> None:
        """Whether an entry that was listed can be used, and what is to be said of it."""
        before = entry.reason
        entry.state, entry.reason = "ready", ""
        if entry.tuning.renders and entry.link is not None:
            kinds = entry.link.capabilities.kinds
            if "text" not in kinds or ("chat" in kinds and ignores_type(server, entry.tuning)):
                entry.reason = "its prompt type is not used: the server renders chats itself"
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
