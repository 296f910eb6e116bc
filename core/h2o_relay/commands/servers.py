"""The servers that a command was given: read, checked, and told about what they need first."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from .. import settings as table
from ..settings import Settings
from .config_file import current_config
from .failures import Mistake
from .notes import note

if TYPE_CHECKING:
    from ..plugins import Plugins
    from ..spec import ServerSpec
    from ..types import Server

ANYWHERE = frozenset({"0.0.0.0", "::"})
PROBES = "probe:gradio_remote,tgi"
"""What a bare URL may be, as h2oGPT tells it; whose it is, every plugin is asked on opening."""


def complete_server(ctx: click.Context, param: click.Parameter, word: str) -> list[CompletionItem]:
    """The prefixes of the installed plugins, for tab completion."""
    from importlib.metadata import entry_points

    names = entry_points(group="h2o_relay.prefixes").names
    return [CompletionItem(name) for name in sorted(names) if name.startswith(word)]


server_arguments = click.argument(
    "servers", nargs=-1, metavar="[SERVER]...", shell_complete=complete_server
)


def configured_servers(texts: Sequence[str], settings: Settings) -> tuple[ServerSpec, ...]:
    """The servers that a command's words and settings name, a lock's entries among them, and
    after them those of its configuration file.

    Says what in them means nothing here. Raises Mistake.
    """
    from ..lock import LockError, configured

    file = current_config()
    try:
        found = configured(settings, texts, file.entries if file else ())
    except LockError as error:
        raise Mistake(str(error), error.hint) from None
    for line in (*found.notes, *(file.notes if file else ())):
        note(line)
    return found.specs


def read_specs(plugins: Plugins, specs: Iterable[ServerSpec]) -> list[ServerSpec]:
    """The same with their servers parsed.

    Raises BadServerString, and Mistake for a plugin that is broken.
    """
    return [spec.parsed(partial(read_server, plugins)) for spec in specs]


async def check_templates(specs: Iterable[ServerSpec]) -> None:
    """Compile the chat templates that the operator gave. Raises Mistake for one that is wrong."""
    from ..errors import RelayError
    from ..prompts.templates import TemplateRenderer

    templates = {spec.tuning.chat_template for spec in specs} - {None}
    async with TemplateRenderer() as renderer:
        for template in templates:
            try:
                await renderer.check(str(template))
            except RelayError as error:
                raise Mistake(f"--chat-template: {error.message}") from None


def servers_of(specs: Iterable[ServerSpec]) -> list[Server]:
    """The servers of specs that have been read."""
    from ..types import Server

    return [spec.server for spec in specs if isinstance(spec.server, Server)]


def read_server(plugins: Plugins, text: str) -> Server:
    """Raises BadServerString, and Mistake for a plugin that is broken."""
    from ..errors import PluginError

    try:
        return plugins.parse(text)
    except PluginError as error:
        raise Mistake(error.message, "see: h2o plugin list") from error


def resolved(server: Server, settings: Settings, base_model: str | None = None) -> Server:
    """The server with what the environment adds to it."""
    from ..resolve import resolve

    return resolve(server, base_model or settings.base_model, table.environment())


def refuse_own_address(servers: Iterable[Server], settings: Settings) -> None:
    """Raise Mistake for a server that is this relay itself.

    Where something listens on the port already it is that which is meant, and the relay will
    move away from it or fail.
    """
    for server in servers:
        host, port = address(resolved(server, settings).url)
        if port in settings.ports and is_own(host, settings.host) and is_free(settings.host, port):
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
        "backend": backend(server),
        "api": server.api,
        "base_url": server.url,
        "scheme": parts.scheme or None,
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
        "payload": options.get("payload"),
        "model": server.model,
    }


def backend(server: Server) -> str:
    """The product, or for a bare URL what it may turn out to be: h2oGPT's form with credentials
    after four spaces is for TGI.
    """
    if server.plugin is not None:
        return server.vendor or server.plugin
    return "tgi" if "authorization" in server.headers else PROBES


def has_key(server: Server) -> bool:
    """Whether there is a credential; EMPTY is what stands for none in OpenAI's clients."""
    key = server.key if server.key != "EMPTY" else None
    return bool(key or server.password or "authorization" in server.headers)


def with_key(server: Server, key: str | None, shown: str) -> Server:
    return replace(server, key=key, shown=shown)
