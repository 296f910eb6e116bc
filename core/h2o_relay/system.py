"""What a relay is made of and how it is set, for the people who run it. Holds no secret."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from .admin import System
from .errors import RelayError
from .lock import LockError, keys, source
from .serverstring import mask
from .settings import default
from .types import Server

if TYPE_CHECKING:
    from .kernel import Kernel
    from .logtail import LogTail
    from .settings import Settings

DISTRIBUTION = "h2o-relay"
PACKAGES = ("gradio", "fastapi", "starlette", "uvicorn", "uvloop", "httptools", "orjson", "pluggy",
            "aiohttp", "jinja2", "sqlalchemy", "alembic")  # fmt: skip
SET = "***"
KEYS = frozenset({"h2ogpt_key"})
SERVERS = frozenset({"inference_server", "default_server"})
Parse = Callable[[str], Server]
URLS = frozenset({"http_proxy", "https_proxy", "store"})
"""Settings whose secret is only a part of them: before the host, or in the query."""


def system(kernel: Kernel, started: float, tail: LogTail | None) -> System:
    """`started` is in Unix time."""
    return System(
        version=installed(DISTRIBUTION) or "not installed",
        python=platform.python_version(),
        instance=kernel.instance,
        started=started,
        plugins=tuple(_plugins(kernel)),
        settings=masked(kernel.settings, kernel.plugins.parse),
        packages={name: found for name in PACKAGES if (found := installed(name))},
        log=tail.lines() if tail else (),
    )


def masked(settings: Settings, parse: Parse | None = None) -> Mapping[str, Any]:
    """Every setting; of one that may hold a secret only whether it is set. No default is secret.

    With `parse`, which reads a server string, servers and the lock's entries are there without
    their secrets.
    """
    told: dict[str, Any] = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        if not item.repr and value not in (None, "", default(item.name)):
            value = _without_secrets(item.name, str(value), parse)
        told[item.name] = value
    return told


def _without_secrets(name: str, value: str, parse: Parse | None) -> Any:
    if name in URLS:
        return mask(value, ()).partition("?")[0]
    if parse is not None and name in SERVERS:
        return _server(value, parse)
    if parse is not None and name == "model_lock":
        try:
            return [_entry(entry, parse) for entry in source.read(value)]
        except LockError:
            return SET
    return SET


def _entry(entry: Mapping[str, Any], parse: Parse) -> dict[str, Any]:
    """A lock's entry; what it does not know may be anything, a key as well."""
    told = {}
    for key, value in entry.items():
        if key == "inference_server":
            told[key] = _server(str(value), parse) if value else value
        elif key in keys.known() and key not in KEYS:
            told[key] = value
        else:
            told[key] = SET if value else value
    return told


def _server(text: str, parse: Parse) -> str:
    try:
        return parse(text).shown
    except RelayError:
        return SET


def _plugins(kernel: Kernel) -> list[Mapping[str, Any]]:
    used = {entry.link.plugin.name for entry in kernel.entries if entry.link}
    return [
        {
            "name": info.name,
            "version": info.version,
            "state": "quarantined" if info.error else "loaded" if info.name in used else "found",
            "reason": info.error or "",
        }
        for info in kernel.plugins.infos()
    ]


def installed(name: str) -> str:
    """A distribution's version; "" if it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
