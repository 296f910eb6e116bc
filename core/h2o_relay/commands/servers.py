"""The servers that a command was given: read, checked, and told about what they need first."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from .. import settings as table
from ..settings import Settings
from .failures import Mistake

if TYPE_CHECKING:
    from ..plugins import Plugins
    from ..types import Server

ANYWHERE = frozenset({"0.0.0.0", "::"})


def complete_server(ctx: click.Context, param: click.Parameter, word: str) -> list[CompletionItem]:
    """The prefixes of the installed plugins, for tab completion."""
    from importlib.metadata import entry_points

    names = entry_points(group="h2o_relay.prefixes").names
    return [CompletionItem(name) for name in sorted(names) if name.startswith(word)]


server_arguments = click.argument(
    "servers", nargs=-1, metavar="[SERVER]...", shell_complete=complete_server
)


def given_servers(texts: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """The server strings of a command: its arguments, and the `inference_server` setting.

    Raises Mistake where `base_model` would name the models of several servers.
    """
    extra = settings.inference_server
    given = (*texts, extra) if extra and extra not in texts else tuple(texts)
    if settings.base_model and len(given) > 1:
        raise Mistake(
            f"--base-model is the name of one server's model, and {len(given)} servers are given",
            "give one server, or leave --base-model out: the models keep their own names",
        )
    return given


def read_servers(plugins: Plugins, texts: Iterable[str]) -> list[Server]:
    """Parsed server strings. Raises BadServerString, and Mistake for a plugin that is broken."""
    return [read_server(plugins, text) for text in texts]


def read_server(plugins: Plugins, text: str) -> Server:
    from ..errors import PluginError

    try:
        return plugins.parse(text)
    except PluginError as error:
        raise Mistake(error.message, "see: h2o plugin list") from error


def resolved(server: Server, settings: Settings) -> Server:
    """The server with what the environment adds to it."""
    from ..resolve import resolve

    return resolve(server, settings.base_model, table.environment())


def refuse_own_address(servers: Iterable[Server], settings: Settings) -> None:
    """Raise Mistake for a server that is this relay itself.

    Where something listens on the port already it is that which is meant, and the relay will
    move away from it or fail.
    """
    ports = {settings.openai_port, settings.port} if settings.ui else {settings.openai_port}
    for server in servers:
        host, port = address(resolved(server, settings).url)
        if port in ports and is_own(host, settings.host) and is_free(settings.host, port):
            raise Mistake(
                f"{server.shown} is the address of this relay itself, port {port}",
                f"start the server first, or move the relay: --openai-port {port + 1}",
            )


def address(url: str | None) -> tuple[str, int]:
    """Host and port of a URL; port 0 where there is none."""
    from urllib.parse import urlsplit

    if url is None:
        return "", 0
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme, 0)
    return (parts.hostname or "").rstrip("."), parts.port or default


def is_own(host: str, listening: str) -> bool:
    """Whether a relay that listens on `listening` is reached at `host`. Looks nothing up."""
    from ipaddress import ip_address

    from ..hosts import is_loopback

    if is_loopback(host) or host == listening or host in ANYWHERE:
        return True
    if listening not in ANYWHERE:
        return False
    try:
        return is_free(str(ip_address(host)), 0)
    except ValueError:
        return host == socket.gethostname()


def is_free(host: str, port: int) -> bool:
    """Whether this machine could listen on that address now."""
    try:
        try_listening(host, port)
    except OSError:
        return False
    return True


def try_listening(host: str, port: int) -> None:
    """Bind to an address and let it go again; port 0 tries the host alone. Raises OSError."""
    family, kind, protocol, _, place = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(place)


def describe(server: Server) -> dict[str, Any]:
    """A parsed server for programs; holds no secret."""
    from urllib.parse import urlsplit

    parts = urlsplit(server.url or "")
    options = server.options
    return {
        "server": server.shown,
        "backend": server.plugin,
        "api": server.api,
        "base_url": server.url,
        "host": parts.hostname,
        "port": parts.port,
        "path": parts.path if server.url else None,
        "has_key": has_key(server),
        "user": server.user,
        "headers": sorted(server.headers),
        "deployment": options.get("deployment"),
        "api_version": options.get("api_version"),
        "endpoint": options.get("endpoint"),
        "region": options.get("region"),
        "model": server.model,
    }


def has_key(server: Server) -> bool:
    """Whether there is a credential; EMPTY is what stands for none in OpenAI's clients."""
    key = server.key if server.key != "EMPTY" else None
    return bool(key or server.password or "authorization" in server.headers)


def with_key(server: Server, key: str | None, shown: str) -> Server:
    return replace(server, key=key, shown=shown)
