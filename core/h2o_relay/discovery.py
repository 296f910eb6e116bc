"""Servers that already run on this machine, found on their well-known ports.

For a relay that was given no server at all. All ports are looked at in parallel, by GETs alone and
within a short time; whose server it is, the plugins say (`identify`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace

from .catalog import INSTANCE_FIELD
from .errors import RelayError
from .http import HttpClient
from .identification import PRODUCT, identify
from .plugins import Plugins
from .probe import Probe
from .serverstring import parse_bare
from .settings import SettingError, Settings
from .types import Server

LIMIT = 2.0  # seconds for all ports together


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A server on this machine."""

    url: str
    server: Server | None = None
    """The server as its plugin found it; None where it cannot be used as it is."""
    reason: str = ""
    """Why it cannot be used."""


async def discover(plugins: Plugins, settings: Settings) -> list[Found]:
    """What answers on `discover_ports` of 127.0.0.1, in their order; the relay's own ports are
    left out. Raises SettingError for ports that cannot be read.
    """
    ports = [port for port in ports_of(settings.discover_ports) if port not in settings.ports]
    hurried = replace(settings, connect_timeout=LIMIT, request_timeout=LIMIT)
    async with HttpClient(hurried) as http:
        looks = [asyncio.create_task(_look(plugins, http, port)) for port in ports]
        try:
            if looks:
                await asyncio.wait(looks, timeout=LIMIT)
        finally:
            for look in looks:
                look.cancel()
            results = await asyncio.gather(*looks, return_exceptions=True)
    return list(_found(results))


def ports_of(text: str) -> tuple[int, ...]:
    """The ports of `discover_ports`, each once. Raises SettingError."""
    ports: list[int] = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        port = int(word) if word.isascii() and word.isdecimal() and len(word) < 6 else 0
        if not 1 <= port <= 65535:
            raise SettingError(f"--discover-ports: {word!r} is not a port from 1 to 65535")
        ports.append(port)
    return tuple(dict.fromkeys(ports))


async def _look(plugins: Plugins, http: HttpClient, port: int) -> Found | None:
    url = f"http://127.0.0.1:{port}"
    async with Probe(http, parse_bare(url)) as probe:
        try:
            _, _, body = await probe.get("/v1/models")
            if INSTANCE_FIELD.encode() in body:
                return Found(url=url, reason="is another relay")  # two could serve each other
            identified = await identify(plugins, probe)
        except RelayError:
            return None  # nothing listens there, or it is nobody's server
        if probe.refused and identified.rank < PRODUCT:
            return None  # any program with a login looks like this
        if probe.refused:
            return Found(url=url, reason="wants a key")
    return Found(url=url, server=identified.server)


def _found(results: Iterable[Found | BaseException | None]) -> Iterable[Found]:
    """What was found in time. Raises what is a fault of ours."""
    for result in results:
        if isinstance(result, Found):
            yield result
        elif isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result
