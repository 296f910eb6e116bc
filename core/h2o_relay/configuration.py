"""What is to be served, from all who say it: the command line, the file, and what was added.

A change from any of them becomes one list of what is wanted, which is checked as a whole and then
applied (`Kernel.apply`). A bad file changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .accounting.prices import NO_PRICES, Prices
from .applying import Change, Wanted
from .commands.printable import one_line
from .errors import InvalidRequest, RelayError
from .getting import before_of
from .lock import LockError, keys, tuning, visible
from .plugins import Plugins
from .pools import PoolSpec
from .settings import Settings, environment
from .spec import ServerSpec

if TYPE_CHECKING:
    from .config import Config
    from .kernel import Kernel

log = logging.getLogger(__name__)


class Configuration:
    """The sources of a running kernel; one change at a time."""

    def __init__(
        self, kernel: Kernel, given: Sequence[ServerSpec] = (), pools: Sequence[PoolSpec] = (),
        config: Config | None = None,
    ) -> None:  # fmt: skip
        """`given` and `pools` are the command line's, in front of what the file says; `config` is
        the file as it was read first.
        """
        self._kernel = kernel
        self._given = tuple(given)
        self._pools = tuple(pools)
        self.config = config
        self.added: dict[str, Wanted] = {}
        """Models that were added while the relay ran, by their ids."""
        self.added_pools: dict[str, PoolSpec] = {}
        """Pools that were, by their names."""
        self._turn = asyncio.Lock()

    @property
    def path(self) -> str | None:
        """The file, if there is one."""
        return None if self.config is None else self.config.path

    @property
    def prices(self) -> Prices:
        """Those of the file as it is now: ask for them again rather than keep them."""
        return NO_PRICES if self.config is None else self.config.prices

    async def reload(self) -> Change:
        """Read the file again and serve what it says now; the log has a line of what that came to,
        whoever asked for it. Raises InvalidRequest, saying what is wrong: then all stays as it was.
        """
        path = self.path
        if path is None:
            raise InvalidRequest("This relay has no configuration file (--config FILE).")
        name = Path(path).name
        try:
            change = await self._reload(path)
        except RelayError as error:
            reason = one_line(error.message)
            log.warning("%s is wrong, the old configuration goes on: %s", name, reason)
            raise
        log.info("%s: %s", name, one_line("; ".join((change.line, *change.notes))))
        return change

    async def _reload(self, path: str) -> Change:
        async with self._turn:
            config = await asyncio.to_thread(read, path, self._kernel.plugins)
            await self._check_templates(config)
            change = self._applied(config, self.added, self.added_pools)
            told = () if config.prices == self.prices else ("prices changed",)
            notes = (*told, *restart_notes(self.config, config))
            self.config = config
            return replace(change, notes=notes)

    async def put(self, id: str, wanted: Wanted) -> Change:
        """Serve an added model, or another in its place."""
        async with self._turn:
            return self._with({**self.added, id: wanted}, self.added_pools)

    async def drop(self, id: str) -> Change:
        """Serve an added model no more."""
        async with self._turn:
            left = {key: want for key, want in self.added.items() if key != id}
            return self._with(left, self.added_pools)

    async def put_pool(self, spec: PoolSpec) -> Change:
        """Serve an added pool, or another in its place."""
        async with self._turn:
            return self._with(self.added, {**self.added_pools, spec.name: spec})

    async def drop_pool(self, name: str) -> Change:
        """Serve an added pool no more."""
        async with self._turn:
            left = {n: spec for n, spec in self.added_pools.items() if n != name}
            return self._with(self.added, left)

    @property
    def given_pools(self) -> frozenset[str]:
        """Names of pools that the command line or the file has."""
        file = () if self.config is None else self.config.pools
        return frozenset(spec.name for spec in (*self._pools, *file))

    def _with(self, added: dict[str, Wanted], pools: dict[str, PoolSpec]) -> Change:
        change = self._applied(self.config, added, pools)
        self.added, self.added_pools = added, pools
        return change

    def _applied(
        self, config: Config | None, added: Mapping[str, Wanted], pools: Mapping[str, PoolSpec]
    ) -> Change:
        plugins = self._kernel.plugins
        specs = all_specs(self._given, config, self._kernel.settings, plugins)
        known = [Wanted(spec=spec, before=before_of(spec, plugins)) for spec in specs]
        wanted = [*known, *added.values()]
        file = config.pools if config else ()
        return self._kernel.apply(wanted, [*self._pools, *file, *pools.values()])

    async def _check_templates(self, config: Config) -> None:
        specs = specs_of(config, self._kernel.settings, self._kernel.plugins)
        for template in {spec.tuning.chat_template for spec in specs} - {None}:
            await self._kernel.templates.check(str(template))


def read(path: str, plugins: Plugins) -> Config:
    """The file, read and checked, its server strings too. Raises InvalidRequest with all that is
    wrong.
    """
    from .config import ConfigError, read_config

    try:
        return read_config(path, environment(), parse=plugins.parse)
    except ConfigError as error:
        raise InvalidRequest(str(error), code="invalid_config") from None


def specs_of(config: Config | None, settings: Settings, plugins: Plugins) -> list[ServerSpec]:
    """The servers of a file, parsed. Raises InvalidRequest, BadServerString."""
    entries = () if config is None else config.entries
    return [spec_of(entry, settings, plugins, place) for place, entry in enumerate(entries, 1)]


def all_specs(
    given: Sequence[ServerSpec], config: Config | None, settings: Settings, plugins: Plugins
) -> list[ServerSpec]:
    """The command line's servers, parsed, and the file's after them, each listed or not as
    `visible_models` says. Raises InvalidRequest, BadServerString.
    """
    specs = [*given, *specs_of(config, settings, plugins)]
    if settings.visible_models is None:
        return specs
    try:
        return visible.choose(specs, visible.read(settings.visible_models))
    except LockError as error:
        raise InvalidRequest(told(str(error), error.hint)) from None


def spec_of(
    entry: Mapping[str, Any], settings: Settings, plugins: Plugins, place: int = 1
) -> ServerSpec:
    """What an entry, written as in a model lock, says. Raises InvalidRequest, BadServerString."""
    written, entry = entry, dict(entry)
    visible = entry.pop("visible", True)
    if not isinstance(visible, bool):
        raise InvalidRequest("'visible' must be true or false", param="visible")
    label = f"--model-lock: entry {place}"
    try:
        spec, _ = keys.spec(place, entry, tuning.of_settings(settings))
    except LockError as error:
        message = str(error).replace(f"{label}: ", "").replace(label, "the entry")
        raise InvalidRequest(told(message, error.hint)) from None
    return replace(replace(spec, written=written).parsed(plugins.parse), visible=visible)


def restart_notes(old: Config | None, new: Config) -> tuple[str, ...]:
    """Settings that differ: they are read when the relay starts."""
    before = {} if old is None else old.settings
    names = [
        name
        for name in {**before, **new.settings}
        if before.get(name, _NONE) != new.settings.get(name, _NONE)
    ]
    if not names:
        return ()
    return (f"{', '.join(sorted(names))}: settings are taken over at the next start",)


_NONE = object()


def told(message: str, hint: str) -> str:
    """A mistake and what to do about it, in one line."""
    return f"{message} ({hint})" if hint else message


__all__ = ["Configuration", "all_specs", "read", "spec_of", "specs_of"]
