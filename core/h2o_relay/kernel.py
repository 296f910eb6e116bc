"""The kernel: model names in, answers out. Frontends call `KernelAPI` and know nothing else.

    async with Kernel(settings, ["vllm:192.168.1.46:8000"]) as kernel:
        async with kernel.stream("chat", {"messages": [...]}) as answer:
            async for chunk in answer:
                print(chunk.text, end="")

Opening waits for no server: each is looked after by a task of its own (`catalog.py`), and a model
can be used as soon as its server is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, Self

from . import forwarding
from . import settings as settings_module
from .answer import Answer, ask
from .catalog import Before, Catalog
from .chunks import Completion
from .errors import ModelNotFound, RelayError, UpstreamUnavailable
from .faults import checked_call
from .forwarding import Forwarded
from .http import HttpClient
from .plugins import Plugins
from .prompts.templates import TemplateRenderer
from .registry import EMPTY, Entry, Given, Route, ServerStatus, Snapshot, build, entry_of
from .settings import Settings
from .spec import ServerSpec
from .types import Call, Deployment, Kind, Request

PATIENCE = 2.0  # seconds that a request waits for servers nobody has looked at yet
OPENING = 60.0  # seconds that a request waits for its server to start


class KernelAPI(Protocol):
    """What frontends may call."""

    def models(self) -> list[Deployment]: ...

    def find(self, name: str | None) -> Deployment: ...

    def status(self) -> list[ServerStatus]: ...

    async def settled(self, timeout: float) -> None: ...

    def stream(
        self, kind: Kind, params: Mapping[str, Any], body: bytes | None = None
    ) -> AbstractAsyncContextManager[Answer]: ...

    def generate(
        self, kind: Kind, params: Mapping[str, Any], body: bytes | None = None
    ) -> Coroutine[Any, Any, Completion]: ...

    def offers(self, call: Call) -> bool: ...

    def forward(
        self, model: str | int | None, call: Call
    ) -> AbstractAsyncContextManager[Forwarded]: ...

    def fix_text(self, kind: Kind, params: Mapping[str, Any], text: str, final: bool) -> str: ...


class Kernel:
    """The `KernelAPI` of this process. Enter it on the loop that will use it."""

    def __init__(
        self,
        settings: Settings,
        servers: Iterable[Given] = (),
        plugins: Plugins | None = None,
    ) -> None:
        """Raises BadServerString for a string that cannot be read."""
        self.settings = settings
        self.plugins = plugins or Plugins.discover(settings.load_plugins)
        self.instance = secrets.token_hex(8)
        self._created = int(time.time())
        self.snapshot: Snapshot = EMPTY
        self._entries = [entry_of(self.plugins, given) for given in servers]
        self._http = HttpClient(settings)
        self.templates = TemplateRenderer()
        self._catalog: Catalog | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        await self.templates.__aenter__()
        env = settings_module.environment()
        self._catalog = Catalog(self.plugins, self._http, env, self.instance, self.rebuild)
        self.rebuild()
        for entry in self._entries:
            self._look_after(entry)
        return self

    async def __aexit__(self, *_: object) -> None:
        entries, self.snapshot = self._entries, EMPTY
        await asyncio.gather(*(self._leave(entry) for entry in entries), *self._leaving)
        await self.templates.__aexit__()
        await self._http.__aexit__()

    def rebuild(self) -> None:
        """Make the snapshot anew and wake those who wait for a change."""
        self.snapshot = build(self._entries, self._created)
        self._changed.set()
        self._changed = asyncio.Event()

    # Changes while it runs.

    def add(self, spec: ServerSpec, id: str | None = None, before: Before | None = None) -> Entry:
        """Serve one server more; `before` is awaited before it is opened, and may say in the
        entry's `reason` how that goes. Raises BadServerString.
        """
        entry = entry_of(self.plugins, spec)
        entry.id, entry.added = id or entry.id, True
        self._entries = [*self._entries, entry]
        self.rebuild()
        self._look_after(entry, before)
        return entry

    def remove(self, entry: Entry) -> None:
        """Serve it no more; what runs on it ends in its own time."""
        self._entries = [other for other in self._entries if other is not entry]
        self.rebuild()
        task = asyncio.create_task(self._leave(entry), name=f"leaving {entry.server.shown}")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def replace(self, entry: Entry, spec: ServerSpec, before: Before | None = None) -> Entry:
        """Serve another in its place, under its id. Raises BadServerString: nothing is changed."""
        other = entry_of(self.plugins, spec)
        other.id, other.added = entry.id, True
        self._entries = [other if one is entry else one for one in self._entries]
        self.remove(entry)
        self._look_after(other, before)
        return other

    @property
    def entries(self) -> Sequence[Entry]:
        return tuple(self._entries)

    async def changed(self, timeout: float) -> None:
        """Wait for the next change of what is known of a server, at most `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._changed.wait()

    def _look_after(self, entry: Entry, before: Before | None = None) -> None:
        assert self._catalog is not None
        entry.task = asyncio.create_task(
            self._catalog.look_after(entry, before), name=entry.server.shown
        )

    async def _leave(self, entry: Entry) -> None:
        if entry.task is not None:
            entry.task.cancel()
            await asyncio.gather(entry.task, return_exceptions=True)
        if entry.link is not None:
            await entry.link.retire(self.settings.drain_timeout)

    # What there is.

    def models(self) -> list[Deployment]:
        """Every deployment known now that is to be listed, in the order of the servers."""
        deployments = [route.deployment for route in self.snapshot.routes.values()]
        return [deployment for deployment in deployments if deployment.visible]

    def find(self, name: str | None) -> Deployment:
        """The deployment of that name; the first one for None. Raises ModelNotFound."""
        return self.snapshot.find(name).deployment

    def status(self) -> list[ServerStatus]:
        return [
            ServerStatus(
                entry.link.server if entry.link else entry.server,
                entry.state, entry.reason, tuple(entry.models),
            )
            for entry in self._entries
        ]  # fmt: skip

    async def settled(self, timeout: float) -> None:
        """Wait until every server was looked at once, at most `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.snapshot.pending:
                    await self._changed.wait()

    # Answers.

    def stream(
        self, kind: Kind, params: Mapping[str, Any], body: bytes | None = None
    ) -> AbstractAsyncContextManager[Answer]:
        """An answer in pieces. `params` is the request in OpenAI's terms and `body` its bytes, if
        there are any: they are what an OpenAI-shaped server is sent.

        Entering waits for the first chunk and raises what the server refused with; leaving closes
        the upstream on every path. Raises RelayError only.
        """
        return Answer(self, kind, params, body)

    def generate(
        self, kind: Kind, params: Mapping[str, Any], body: bytes | None = None
    ) -> Coroutine[Any, Any, Completion]:
        """A whole answer, to be awaited. Raises RelayError; cancelling it closes the upstream."""
        return ask(self, kind, params, body)

    def offers(self, call: Call) -> bool:
        """Whether some server has the path of `call`, or may turn out to have it."""
        return forwarding.offered(self._entries, call)

    def forward(
        self, model: str | int | None, call: Call
    ) -> AbstractAsyncContextManager[Forwarded]:
        """Any other OpenAI path, bytes both ways; without a model, by the first one whose server
        offers it. `call.params` is the body decoded, where it is JSON; the model's name in it, or
        in a multipart form, is replaced by the server's own.

        Entering waits for the answer's head and raises what the server refused with, UnknownURL if
        it has no such path; leaving closes the upstream. Raises RelayError only.
        """
        return forwarding.forward(self, model, call)

    def fix_text(self, kind: Kind, params: Mapping[str, Any], text: str, final: bool) -> str:
        """One choice's text so far, repaired by the plugin of the server that answers."""
        route = self.snapshot.find(params.get("model"))
        request = Request(kind=kind, params=params, body=None, deployment=route.deployment)
        server = route.deployment.server
        return checked_call(
            route.link.plugin, "fix_text", lambda p: p.fix_text(server, request, text, final)
        )

    # For answers: from a name to a server that is open.

    async def route(self, name: str | int | None) -> Route:
        """The route for a model's name. Raises ModelNotFound, UpstreamUnavailable."""
        snapshot = self.snapshot
        if not snapshot.pending:
            return snapshot.find(name)
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while True:
            try:
                route = self.snapshot.find(name)
                if route.entry.seen or _over(deadline):
                    return route
            except (ModelNotFound, UpstreamUnavailable):
                if not self.snapshot.pending or _over(deadline):
                    raise
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()

    @contextlib.asynccontextmanager
    async def leased(self, name: str | int | None) -> AsyncIterator[tuple[Route, Any]]:
        """A route whose link stays open, and its client."""
        route = await self.route(name)
        link = route.link
        link.lease()
        try:
            yield route, link.client or await link.wait_open(OPENING)
        finally:
            link.release()


def _over(deadline: float) -> bool:
    return asyncio.get_running_loop().time() >= deadline


__all__ = ["Answer", "Given", "Kernel", "KernelAPI", "RelayError", "ServerStatus"]
