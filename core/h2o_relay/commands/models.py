"""`h2o models`: which models there are, and getting one onto this machine."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import click

from ..settings import Settings, default
from .config_file import current_config
from .failures import Failure
from .logs import log_if_asked
from .loops import run_async
from .options import RelayCommand, chosen_level, setting_options, settings_of, switch, valued
from .servers import read_server, server_arguments


@click.group(invoke_without_command=True, short_help="List models, or get one.")
@click.pass_context
def models(ctx: click.Context) -> None:
    """The models that are served, and models on this machine.

    \b
    h2o models list                     of the relay that runs here
    h2o models list openai_chat         of a server
    h2o models pull                     the default model, before it is needed
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_models)


@models.command(name="list", cls=RelayCommand)
@server_arguments
@valued("--url", help="The running relay, by default the one on this machine.")
@switch("json", help="Print JSON.")
@setting_options(listening=False)
def list_models(servers: tuple[str, ...] = (), **flags: Any) -> None:
    """The models of servers, or of the running relay.

    \b
    h2o models list
    h2o models list --url http://10.0.0.9:5000/v1 --api-key env:KEY
    h2o models list vllm:192.168.1.46:8000 --json
    h2o models list --model_lock=@lock.yaml
    """
    from .session import relay_url
    from .tables import print_json, print_table

    settings = settings_of(flags)
    log_if_asked(chosen_level(flags))
    url = flags.get("url")
    file = current_config()
    configured = settings.inference_server or settings.model_lock or (file and file.entries)
    if servers or (configured and not url):
        rows = run_async(_of_servers(servers, settings))
    else:
        rows = run_async(_of_relay(url or relay_url(settings), settings))
    if flags.get("json"):
        print_json(rows)
        return
    print_table(
        ("Model", "Server", "Context"),
        [(row["id"], row["server"] or row["owned_by"], row["max_context"]) for row in rows],
    )


async def _of_servers(texts: Sequence[str], settings: Settings) -> list[dict[str, Any]]:
    from .session import opened

    async with opened(texts, settings) as kernel:
        return [
            {
                "id": found.name,
                "server": found.server.shown,
                "owned_by": found.owned_by,
                "max_context": found.max_context,
            }
            for found in kernel.models()
        ]


async def _of_relay(url: str, settings: Settings) -> list[dict[str, Any]]:
    from .session import relay_models

    found = await relay_models(url, settings)
    if found is None:
        raise Failure(f"no relay answers at {url}", "start one with: h2o run")
    return [_row(entry) for entry in found if isinstance(entry, Mapping)]


def _row(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": entry.get("id"),
        "server": None,
        "owned_by": entry.get("owned_by"),
        "max_context": entry.get("max_model_len"),
    }


@models.command(cls=RelayCommand)
@click.argument("name", required=False, metavar="[NAME|PATH|hf:REPO/FILE]")
@switch("json", help="Print JSON.")
@setting_options(listening=False)
def pull(name: str | None, **flags: Any) -> None:
    """Get a model for the embedded engine; without a name the default one.

    \b
    h2o models pull
    h2o models pull hf:someone/some-model-GGUF/model-q4.gguf
    """
    from .tables import print_json

    settings = settings_of(flags)
    engine = default("default_server")
    text = f"{engine}:{name}" if name else settings.default_server
    path = run_async(_pull(text, settings))
    if flags.get("json"):
        print_json({"server": text, "path": path})
        return
    if path is None:
        click.echo(f"{text} needs nothing on this machine")
    else:
        click.echo(path)
    click.echo(f"run it with: h2o run {shlex.quote(text)}", err=True)


async def _pull(text: str, settings: Settings) -> str | None:
    from ..plugins import Plugins
    from .fetching import fetch_all

    plugins = Plugins.discover(settings.load_plugins)
    server = read_server(plugins, text)
    (path,) = await fetch_all(plugins, [server], settings)
    return None if path is None else str(path)
