"""`AdminAPI` over the kernel of this process: what `/admin` and its users do."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from . import export, views
from .added_pools import KEY, AddedPools
from .admin import DeploymentView, Found, FoundModel, Series, System, Tried
from .applying import Change, Wanted
from .configuration import Configuration, spec_of
from .entry import Entry
from .errors import Forbidden, InvalidRequest, NotFound, RelayError, StoreError
from .getting import before_of
from .kernel import Kernel
from .logtail import LogTail
from .server_policy import keyless
from .spec import ServerSpec
from .system import system
from .types import Server

if TYPE_CHECKING:
    from .accounting.usage_query import UsageQuery, UsageReport

LOOK = 20.0  # seconds for a look at a server before it is added
PACE = 1.0  # seconds between looks at counters that move
MASK = "***"
SECRETS = ("h2ogpt_key",)
log = logging.getLogger(__name__)


class Keeper(Protocol):
    """What keeps added models over restarts: `store.AddedModels`."""

    async def all(self) -> Sequence[tuple[str, Mapping[str, Any]]]: ...

    async def put(self, id: str, entry: Mapping[str, Any]) -> None: ...

    async def delete(self, id: str) -> None: ...


class Reports(Protocol):
    """`KeptUsage`."""

    async def report(self, query: UsageQuery) -> UsageReport: ...


class Administration:
    """The `AdminAPI` of this process; without a keeper nothing outlives it."""

    def __init__(
        self, kernel: Kernel, keeper: Keeper | None = None, tail: LogTail | None = None,
        configuration: Configuration | None = None,
    ) -> None:  # fmt: skip
        self._kernel = kernel
        given = [entry.spec for entry in kernel.entries if entry.spec is not None]
        pools = [pool.spec for pool in kernel.snapshot.pools.values()]
        self.configuration = configuration or Configuration(kernel, given, pools)
        self._keeper = keeper
        self._tail = tail
        self.kept: Reports | None = None
        """What tells of usage, where it is kept."""
        self._started = time.time()
        self._written: dict[str, Mapping[str, Any]] = {}
        self._unread: set[str] = set()
        """Ids of stored models that cannot be read any more, and only be removed."""
        self._pools = AddedPools(self.configuration, keeper)
        self._turn = asyncio.Lock()

    async def restore(self) -> None:
        """Serve again what was added before; what cannot be read any more is left out, as is what
        is there. May be called again if it fails: raises StoreError.
        """
        for id, entry in await self._keeper.all() if self._keeper else ():
            async with self._turn:
                if id not in self._written:
                    await self._restore(id, entry)

    async def _restore(self, id: str, entry: Mapping[str, Any]) -> None:
        try:
            if KEY in entry:
                await self._pools.restore(id, entry)
                return
            await self.configuration.put(id, self._wanted(entry, id))
        except RelayError as error:
            log.warning("the model %s, added before, is left out: %s", id, error.message)
            self._unread.add(id)
        self._written[id] = entry

    # What there is.

    def deployments(self) -> Sequence[DeploymentView]:
        return views.deployments(self._kernel)

    async def changes(self) -> AsyncGenerator[Sequence[DeploymentView], None]:
        told: Sequence[DeploymentView] | None = None
        while True:
            now = self.deployments()
            if now != told:
                told = now
                yield now
            await self._kernel.changed(PACE)

    async def series(self) -> Sequence[Series]:
        return views.series(self._kernel)

    async def usage(self, query: UsageQuery) -> UsageReport:
        if self.kept is None:
            raise StoreError("this relay keeps no usage", code="usage_not_kept")
        return await self.kept.report(query)

    async def system(self) -> System:
        await asyncio.to_thread(self._kernel.plugins.infos)  # imports all of them, the first time
        return system(self._kernel, self._started, self._tail)

    # A look before something is added.

    async def identify(self, entry: Mapping[str, Any]) -> Found:
        spec = self._spec(entry)
        server = await self._judged(spec)
        plugins = self._kernel.plugins
        # What has an address runs already: only an engine that is started here is not looked at.
        engine = server.plugin if server.url is None else None
        if engine is not None and "fetch" in plugins.get(engine).hooks:
            return _found(server, (), plugins.get(engine).capabilities(server).kinds, "")
        settings = self._kernel.settings
        look = Kernel(settings, [spec], plugins)
        look.instance = self._kernel.instance  # so that a relay that is shown itself says so
        look.entries[0].added = True  # judged as one that is
        async with look:
            await look.settled(min(LOOK, settings.request_timeout))
            one = look.entries[0]
            problem = "" if one.stage == "ready" else one.reason or "it has not answered yet"
            return _found(
                one.link.server if one.link else one.server,
                tuple(FoundModel(id=model.id, max_context=model.max_context, kinds=None
                                 if model.kinds is None else tuple(sorted(model.kinds)))
                      for model in one.models),
                one.link.capabilities.kinds if one.link else frozenset(),
                problem,
            )  # fmt: skip

    # Changes.

    async def add(self, entry: Mapping[str, Any]) -> str:
        id = secrets.token_hex(4)
        wanted = self._wanted(entry, id)
        await self._judged(wanted.spec)
        async with self._turn:
            await self.configuration.put(id, wanted)
            try:
                if self._keeper is not None:
                    await self._keeper.put(id, dict(entry))
            except RelayError:
                await self.configuration.drop(id)
                raise
            self._written[id] = dict(entry)
        return id

    async def change(self, id: str, entry: Mapping[str, Any]) -> None:
        async with self._turn:
            found = self._entry(id)
            if set(entry) == {"visible"} and not found.added:
                found.visible = _flag(entry["visible"])
                self._kernel.rebuild()
                return
            self._refuse_given(found)
            kept = {k: v for k, v in entry.items() if not self._is_masked(found, k, v)}
            before = self._written.get(id, {})
            stale = keyless(before, kept, SECRETS)
            written = {k: v for k, v in {**before, **kept}.items() if k not in stale}
            wanted = self._wanted(written, id)
            await self._judged(wanted.spec)
            await self.configuration.put(id, wanted)
            if self._keeper is not None:
                await self._keeper.put(id, written)
            self._written[id] = written

    async def remove(self, id: str) -> None:
        async with self._turn:
            unread = id in self._unread
            found = None if unread else self._entry(id)
            if found is not None:
                self._refuse_given(found)
            if self._keeper is not None:
                await self._keeper.delete(id)
            self._unread.discard(id)
            self._written.pop(id, None)
            if found is not None:
                await self.configuration.drop(id)

    async def entry(self, id: str) -> Mapping[str, Any]:
        found = self._entry(id)
        self._refuse_given(found)
        written = dict(self._written.get(id, {}))
        server = written.get("inference_server")
        if server and MASK in found.server.shown:
            written["inference_server"] = found.server.shown
        return {k: MASK if k in SECRETS and v else v for k, v in written.items()}

    # Pools.

    async def put_pool(self, entry: Mapping[str, Any]) -> str:
        async with self._turn:
            return await self._pools.put(entry)

    async def remove_pool(self, name: str) -> None:
        async with self._turn:
            await self._pools.remove(name)

    # The configuration as a whole.

    async def reload(self) -> Change:
        return await self.configuration.reload()

    async def export(self, secrets: bool = False) -> str:
        config = self.configuration.config
        settings = {} if config is None else config.settings
        pools = [pool.spec for pool in self._kernel.snapshot.pools.values()]
        prices = self.configuration.prices
        return export.written(self._kernel.entries, pools, settings, prices, secrets=secrets)

    async def explain(self, name: str | None) -> Mapping[str, Any]:
        return views.explained(await self._kernel.choice(name))

    # Doing.

    async def try_out(self, name: str) -> Tried:
        deployment = self._kernel.find(name)
        route = await self._kernel.route(name)
        kinds = deployment.kinds or route.link.capabilities.kinds
        asked: dict[str, Any] = {"messages": [{"role": "user", "content": "Say hello."}]}
        kind = "chat" if "chat" in kinds else "text"
        if kind == "text":
            asked = {"prompt": "Say hello."}
        start = time.monotonic()
        try:
            completion = await self._kernel.generate(
                "chat" if kind == "chat" else "text",
                {"model": name, **asked, "max_tokens": 1, "stream": False},
            )
        except RelayError as error:
            return Tried(ok=False, seconds=time.monotonic() - start, text=error.message)
        return Tried(ok=True, seconds=time.monotonic() - start, text=completion.text[:200])

    async def set_loaded(self, name: str, on: bool) -> None:
        async with self._kernel.leased(name) as (route, client):
            plugin = route.link.plugin
            if plugin.set_loaded is None or "set_loaded" not in plugin.hooks:
                raise InvalidRequest(f"{plugin.name} cannot load and unload models")
            await plugin.set_loaded(route.link.server, client, route.deployment.model, on)

    # Parts.

    def _spec(self, entry: Mapping[str, Any]) -> ServerSpec:
        """What an entry says, its server read. Raises InvalidRequest, BadServerString."""
        _refuse_masks(entry)
        return spec_of(entry, self._kernel.settings, self._kernel.plugins)

    async def _judged(self, spec: ServerSpec) -> Server:
        """The server of a spec that may be added. Raises Forbidden."""
        assert isinstance(spec.server, Server)
        await self._kernel.policy.check(spec.server)
        return spec.server

    def _wanted(self, entry: Mapping[str, Any], id: str) -> Wanted:
        spec = self._spec(entry)
        return Wanted(spec=spec, id=id, before=before_of(spec, self._kernel.plugins))

    def _entry(self, id: str) -> Entry:
        found = next(views.named(self._kernel, id), None)
        if found is None:
            raise NotFound("There is no such deployment.", param="id")
        return found

    @staticmethod
    def _is_masked(entry: Entry, key: str, value: Any) -> bool:
        """Whether a value is only what `entry` showed of a secret."""
        if key == "inference_server":
            return MASK in entry.server.shown and value == entry.server.shown
        return key in SECRETS and value == MASK

    @staticmethod
    def _refuse_given(entry: Entry) -> None:
        if not entry.added:
            raise Forbidden(
                "This model was given when the relay was started: change it there. Here it can be "
                "hidden.",
                code="not_added",
            )


def _refuse_masks(entry: Mapping[str, Any]) -> None:
    """A secret that was shown as "***" is known only while its value is left as it was shown."""
    for key in ("inference_server", *SECRETS):
        value = entry.get(key)
        if isinstance(value, str) and (MASK in value if key not in SECRETS else value == MASK):
            raise InvalidRequest(f"{key} has {MASK} in it: write the key in its place", param=key)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest("'visible' must be true or false", param="visible")
    return value


def _found(
    server: Server, models: tuple[FoundModel, ...], kinds: frozenset[Any], problem: str
) -> Found:
    return Found(
        server=server.shown,
        plugin=server.plugin,
        url=server.url,
        models=models,
        kinds=tuple(sorted(kinds)),
        problem=problem,
    )


__all__ = ["Administration", "Keeper"]
