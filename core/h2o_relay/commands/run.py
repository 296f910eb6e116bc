"""`h2o run`: everything that can be told beforehand is checked, then the frontend takes over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import click

from ..settings import Settings
from .failures import Failure, Mistake
from .logs import log_to_stderr
from .loops import run_async
from .options import RelayCommand, setting_options, settings_of, warn
from .servers import (
    given_servers,
    read_servers,
    refuse_own_address,
    server_arguments,
    try_listening,
)

if TYPE_CHECKING:
    from ..types import Server

FRONTENDS = "h2o_relay.frontends"
Serve = Callable[[Settings, list[tuple["Server", str | None]]], int | None]


@click.command(cls=RelayCommand, short_help="Serve the chat UI and the API.")
@server_arguments
@setting_options(listening=True)
def run(servers: tuple[str, ...], **flags: Any) -> int:
    """Serve the chat UI and the API in front of these servers.

    Without a SERVER the embedded model is served; the first time it is downloaded.

    \b
    h2o run
    h2o run vllm_chat:http://10.0.0.5:8000 openai_chat
    h2o run --inference_server=vllm:10.0.0.5:8000 --base_model=my-model
    h2o run --host 0.0.0.0 --api-key file:key.txt --no-ui
    OPENAI_API_KEY=... h2o run openai_chat

    \b
    Server strings are h2oGPT's, and so are the options: --openai_port=5000,
    --ui=False and --base_model=None work as well. For every option there is
    a variable H2O_<NAME>, and H2OGPT_<NAME> is read too.
    """
    return start(servers, settings_of(flags), flags)


@click.command(cls=RelayCommand, short_help="Serve the API alone.")
@server_arguments
@setting_options(listening=True)
def serve(servers: tuple[str, ...], **flags: Any) -> int:
    """Serve the API alone: `h2o run --no-ui`.

    \b
    h2o serve vllm_chat:http://10.0.0.5:8000 --openai-port 8080
    """
    return start(servers, settings_of(flags, ui=False), flags)


def start(texts: Sequence[str], settings: Settings, flags: Mapping[str, Any]) -> int:
    """Check, fetch what the servers need, and serve until stopped; returns the exit code."""
    from ..plugins import Plugins
    from .fetching import fetch_all

    given = given_servers(texts, settings)
    plugins = Plugins.discover(settings.load_plugins)
    servers = read_servers(plugins, given or (settings.default_server,))
    refuse_foreign_host(settings.host)
    refuse_open(settings)
    refuse_own_address(servers, settings)
    warn_of_keys(servers, given, [*texts, flags.get("inference_server")], flags.get("api_key"))
    if settings.base_model and not given:
        warn(f"the default server's model is served under the name {settings.base_model}")
    log_to_stderr(settings.log_level)
    serve = frontend("proxy")
    run_async(fetch_all(plugins, servers, settings))
    return serve(settings, [(server, settings.base_model) for server in servers]) or 0


def warn_of_keys(
    servers: Sequence[Server], given: Sequence[str], typed: Sequence[str | None], key: str | None
) -> None:
    """Say that `ps` shows the keys that stand on the command line of a process that stays."""
    seen = "other users of this machine can see it"
    if key and key != "-" and not key.startswith(("env:", "file:")):
        warn(f"--api-key holds the key and {seen}; use --api-key=env:NAME or file:PATH")
    for server, text in zip(servers, given, strict=False):
        if text in typed and "***" in server.shown:
            warn(f"{server.shown} holds a key and {seen}; H2O_INFERENCE_SERVER can hold it")


def refuse_open(settings: Settings) -> None:
    """Raise Mistake for a relay that everybody could use."""
    from ..hosts import is_exposed

    if not is_exposed(settings):
        return
    raise Mistake(
        f"listening on {settings.host} without a key would let anybody use it",
        "set a key (H2O_API_KEY or --api-key file:PATH), or pass --allow-open",
    )


def refuse_foreign_host(host: str) -> None:
    """Raise Mistake for an address that this machine cannot listen on."""
    try:
        try_listening(host, 0)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        raise Mistake(f"--host: cannot listen on {host!r}: {reason}") from None


def _package(error: ModuleNotFoundError) -> str:
    return (error.name or str(error)).partition(".")[0]


def frontend(name: str) -> Serve:
    """What an entry point of the frontends loads. Raises Failure, saying what to install."""
    for point in entry_points(group=FRONTENDS, name=name):
        try:
            found: Serve = point.load()
        except ModuleNotFoundError as error:
            raise Failure(
                f"the {name} frontend needs {_package(error)}, which is not installed",
                f'install it with: pip install "h2o-relay[{name}]"',
            ) from error
        return found
    raise Failure(
        f"no {name} frontend is installed", f'install it with: pip install "h2o-relay[{name}]"'
    )
