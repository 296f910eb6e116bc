"""Plugins: found by entry point, imported when first needed, checked one at a time, then bound.

pluggy checks that a plugin's hooks exist and that their parameters fit; what it cannot see (is
`stream` an async generator function?) is checked here. A plugin that fails is quarantined with its
reason and the rest go on. Hooks are bound once and called directly: pluggy carries no traffic.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, Self, cast

import pluggy

from . import hookspecs
from .errors import BadServerString, PluginError, RelayError
from .http import HttpClient
from .plugin_defaults import DEFAULTS
from .serverstring import REFUSED, check_text, mask, parse_bare
from .types import (
    Call,
    Capabilities,
    Chunk,
    Completion,
    Getter,
    Identified,
    Load,
    Model,
    Progress,
    Reply,
    Request,
    Server,
    Target,
)

RESERVED = frozenset({"http", "https"})
UNSERVED = frozenset({"anthropic", "google", "mistralai", "sglang"})
"""Prefixes of h2oGPT that no plugin of ours has; whoever installs one may claim them."""
log = logging.getLogger(__name__)


class Points(Protocol):
    """Entry points, whatever importlib.metadata calls them in a version of Python."""

    def select(self, **params: Any) -> Iterable[EntryPoint]: ...


def installed() -> Points:
    """The entry points of everything that is installed; reads as many files as there are
    distributions.
    """
    return cast("Points", entry_points())


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A plugin's hooks as plain functions that take all of a hook's arguments.

    Those that the plugin leaves out are the kernel's defaults; `connect` and `identify` are None
    where there is nothing to call.
    """

    name: str
    hooks: frozenset[str]
    parse_server_string: Callable[[str], Server | None]
    generate: Callable[[Server, Any, Request], Awaitable[Completion]]
    stream: Callable[[Server, Any, Request], AsyncIterator[Chunk]]
    list_models: Callable[[Server, Any], Awaitable[list[Model]]]
    fix_text: Callable[[Server, Request, str, bool], str]
    capabilities: Callable[[Server], Capabilities]
    target: Callable[[Server, Call], Target | None]
    connect: Callable[[Server, HttpClient], AbstractAsyncContextManager[Any]] | None
    identify: Callable[[Server, Getter], Awaitable[Identified | None]] | None
    forward: Callable[[Server, Any, Call], AbstractAsyncContextManager[Reply]]
    load: Callable[[Server, Any], Awaitable[Load]]
    count_tokens: Callable[[Server, Any, Request], Awaitable[int | None]]
    set_loaded: Callable[[Server, Any, str, bool], Awaitable[None]] | None
    fetch: Callable[[Server, Progress], Awaitable[Path | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginInfo:
    """What is known of an installed plugin; `error` says why it is quarantined."""

    name: str
    distribution: str
    version: str
    prefixes: tuple[str, ...]
    hooks: tuple[str, ...] = ()
    error: str | None = None


@dataclass(slots=True)
class _Found:
    name: str
    source: Callable[[], ModuleType]
    distribution: str = ""
    version: str = ""
    prefixes: list[str] = field(default_factory=list)
    plugin: Plugin | None = None
    error: str | None = None


class Plugins:
    """The installed plugins by name."""

    def __init__(self) -> None:
        self._found: dict[str, _Found] = {}
        self._prefixes: dict[str, list[str]] = {}

    @classmethod
    def discover(cls, load: str | None = None, points: Points | None = None) -> Self:
        """Those with an entry point; `load` names the only ones wanted, with commas between.
        `points` are all entry points there are, where somebody has read them already.
        """
        self = cls()
        wanted = None if load is None else {n.strip() for n in load.split(",") if n.strip()}
        points = installed() if points is None else points
        for point in sorted(points.select(group=hookspecs.PROJECT), key=lambda p: p.name):
            if wanted is None or point.name in wanted:
                self._add(_from_entry_point(point))
        for point in points.select(group=hookspecs.PREFIX_GROUP):
            if point.value in self._found:
                self._claim(point.name, point.value)
            elif wanted is None:
                log.warning(
                    "prefix %s belongs to plugin %s, which is not installed",
                    point.name,
                    point.value,
                )
        return self

    @classmethod
    def of(cls, **modules: ModuleType) -> Self:
        """These modules only, each under its keyword's name, which is its prefix too."""
        self = cls()
        for name, module in modules.items():
            self._add(_Found(name, lambda module=module: module))  # type: ignore[misc]
        return self

    def _add(self, found: _Found) -> None:
        other = self._found.get(found.name)
        if other is not None:
            other.error = (
                f"two distributions have a plugin of this name: {other.distribution} and "
                f"{found.distribution}"
            )
            return
        self._found[found.name] = found
        self._claim(found.name, found.name)

    def _claim(self, prefix: str, name: str) -> None:
        if prefix in RESERVED:
            self._found[name].error = f"it claims the reserved prefix {prefix!r}"
            return
        owners = self._prefixes.setdefault(prefix, [])
        if name not in owners:
            owners.append(name)
            self._found[name].prefixes.append(prefix)

    def names(self) -> list[str]:
        return list(self._found)

    def get(self, name: str) -> Plugin:
        """A plugin, imported and checked. Raises PluginError if there is none or it is broken."""
        found = self._found.get(name)
        if found is None:
            raise PluginError(f"no plugin named {name!r} is installed")
        if found.plugin is None and found.error is None:
            try:
                found.plugin = bind(name, found.source())
            except (Exception, SystemExit) as error:
                found.error = _reason(error)
                log.warning("plugin %s is left out: %s", name, found.error)
                log.debug("plugin %s", name, exc_info=error)
        if found.error is not None or found.plugin is None:
            raise PluginError(f"plugin {name!r} is left out: {found.error}")
        return found.plugin

    def usable(self) -> list[Plugin]:
        """All plugins that can be imported and pass their checks."""
        usable = []
        for name in self._found:
            try:
                usable.append(self.get(name))
            except PluginError:
                continue  # `infos` tells why
        return usable

    def infos(self) -> list[PluginInfo]:
        """All that is installed, broken ones included; imports every plugin."""
        self.usable()
        return [
            PluginInfo(
                name=found.name,
                distribution=found.distribution,
                version=found.version,
                prefixes=tuple(found.prefixes),
                hooks=tuple(h for h in hookspecs.HOOKS if h in found.plugin.hooks)
                if found.plugin and not found.error
                else (),
                error=found.error,
            )
            for found in self._found.values()
        ]

    def parse(self, text: str) -> Server:
        """A server string read by the plugin whose prefix it has, or as a bare http(s) URL.

        Raises BadServerString; PluginError if the plugin is broken.
        """
        check_text(text)
        text = text.strip(" ")
        prefix = text.split(":", 1)[0].strip()
        if prefix in RESERVED:
            return parse_bare(text)
        owners = self._prefixes.get(prefix, [])
        if len(owners) > 1:
            raise BadServerString(
                f"the prefix {prefix!r} is claimed by {' and '.join(owners)}",
                shown=mask(text, (), REFUSED),
            )
        if not owners:
            raise self._unknown(text, prefix)
        try:
            server = self.get(owners[0]).parse_server_string(text)
        except RelayError:
            raise
        except Exception as error:
            raise PluginError(f"plugin {owners[0]!r} failed to read a server string") from error
        if not isinstance(server, Server):
            raise BadServerString(
                f"plugin {owners[0]} cannot read it", shown=mask(prefix, (), REFUSED)
            )
        return server

    def _unknown(self, text: str, prefix: str) -> BadServerString:
        known = sorted({*self._prefixes, *RESERVED})
        shown = mask(text.split(":", 1)[0], (), REFUSED) + (":***" if ":" in text else "")
        if prefix in UNSERVED:
            return BadServerString(
                f"nobody serves {prefix!r} yet: no installed plugin has this prefix. What speaks "
                "OpenAI's API can be reached by its URL and key",
                shown=shown, column=1, example="openai_chat:None:https://host/v1:None:KEY",
            )  # fmt: skip
        near = get_close_matches(prefix, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        if "." in prefix or prefix == "localhost":
            hint = "a URL needs http:// in front. "
        return BadServerString(
            f"no backend {prefix[:40]!r}; {hint}Known: {', '.join(known)}", shown=shown,
            column=1, example="vllm:192.168.1.46:8000",
        )  # fmt: skip


def _from_entry_point(point: EntryPoint) -> _Found:
    dist = point.dist
    return _Found(point.name, point.load, dist.name if dist else "", dist.version if dist else "")


def _reason(error: BaseException) -> str:
    """Why a plugin failed, in one line."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"it needs the package {error.name.split('.')[0]!r}, which is not installed"
    if isinstance(error, RelayError):
        return error.message
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {' '.join(line.strip() for line in lines)}"


def bind(name: str, module: ModuleType) -> Plugin:
    """Check a plugin module against the contract and bind its hooks.

    Raises PluginError, or pluggy.PluginValidationError, which name plugin, hook and signature.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(module, name)
    manager.check_pending()
    found: dict[str, Callable[..., Any]] = {}
    for caller in manager.get_hookcallers(module) or []:
        for implementation in caller.get_hookimpls():
            spec = caller.spec
            if spec is None:  # an optional hook of a newer core
                continue
            function = implementation.function
            if implementation.hookwrapper or implementation.wrapper:
                raise PluginError(f"plugin {name!r}: hook {caller.name} must not be a wrapper")
            _check_kind(name, caller.name, function)
            found[caller.name] = _adapt(function, implementation.argnames, spec.argnames)
    if "parse_server_string" not in found:
        raise PluginError(f"plugin {name!r} has no parse_server_string marked with @hookimpl")
    if "target" not in found and not {"generate", "stream"} <= set(found):
        raise PluginError(f"plugin {name!r} needs target, or generate and stream")
    return _complete(name, found)


def _check_kind(name: str, hook: str, function: Callable[..., Any]) -> None:
    """What pluggy cannot see: that a hook is of the kind its specification is."""
    spec = getattr(hookspecs, hook)
    plain = inspect.unwrap(function)
    signature = inspect.signature(plain)
    shown = f"plugin {name!r}: hook {hook}{signature}"
    for given in signature.parameters.values():
        if given.kind is not given.POSITIONAL_OR_KEYWORD or given.default is not given.empty:
            raise PluginError(f"{shown} must take its parameters by position, without defaults")
    if hook == "stream":
        if not inspect.isasyncgenfunction(function):
            raise PluginError(f"{shown} must be an async generator (async def with yield)")
    elif inspect.iscoroutinefunction(spec):
        if not inspect.iscoroutinefunction(function):
            raise PluginError(f"{shown} must be a coroutine function (async def)")
    elif inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise PluginError(f"{shown} must be a plain function")


def _adapt(
    function: Callable[..., Any], accepted: Iterable[str], all_names: Iterable[str]
) -> Callable[..., Any]:
    """Let a hook that leaves out parameters be called with all of them."""
    names = tuple(all_names)
    picked = tuple(names.index(name) for name in accepted)
    if picked == tuple(range(len(names))):
        return function
    return lambda *args: function(*(args[i] for i in picked))


def _complete(name: str, found: dict[str, Callable[..., Any]]) -> Plugin:
    """The plugin with the kernel's defaults where it has no hook of its own."""
    from . import openai_shape

    find = found.get("target", DEFAULTS["target"])
    names = ("generate", "stream", "list_models") if "target" in found else ()
    shaped = {name: partial(getattr(openai_shape, name), find) for name in (*names, "forward")}
    return Plugin(name=name, hooks=frozenset(found), **{**DEFAULTS, **shaped, **found})
