"""What a relay is made of and how it is set, for the people who run it. Holds no secret."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from .admin import System
from .serverstring import mask

if TYPE_CHECKING:
    from .kernel import Kernel
    from .logtail import LogTail
    from .settings import Settings

DISTRIBUTION = "h2o-relay"
PACKAGES = ("gradio", "fastapi", "starlette", "uvicorn", "uvloop", "httptools", "orjson", "pluggy",
            "aiohttp", "jinja2", "sqlalchemy", "alembic")  # fmt: skip
SET = "***"
URLS = frozenset({"http_proxy", "https_proxy", "store"})
"""Settings whose secret is only a part of them."""


def system(kernel: Kernel, started: float, tail: LogTail | None) -> System:
    """`started` is in Unix time."""
    return System(
        version=installed(DISTRIBUTION) or "not installed",
        python=platform.python_version(),
        instance=kernel.instance,
        started=started,
        plugins=tuple(_plugins(kernel)),
        settings=masked(kernel.settings),
        packages={name: found for name in PACKAGES if (found := installed(name))},
        log=tail.lines() if tail else (),
    )


def masked(settings: Settings) -> Mapping[str, Any]:
    """Every setting; of one that may hold a secret only whether it is set."""
    told: dict[str, Any] = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        if not item.repr and value not in (None, ""):
            value = mask(str(value), ()) if item.name in URLS else SET
        told[item.name] = value
    return told


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
