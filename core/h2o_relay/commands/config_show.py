"""`h2o config show`: every setting that is in force and where it is from, models, pools, prices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from .. import settings as table
from ..settings import Origin, Settings
from .config_file import current_config
from .option_help import shown
from .options import RelayCommand, setting_options, settings_found, switch
from .servers import configured_servers, server_arguments

if TYPE_CHECKING:
    from ..config import Config
    from ..plugins import Plugins
    from ..spec import ServerSpec

MASK = "***"
SERVER_STRINGS = frozenset({"inference_server", "default_server"})


@click.command(cls=RelayCommand, short_help="Tell what is in force, and where it is from.")
@server_arguments
@switch("json", help="Print JSON.")
@setting_options(listening=True)
def show(servers: tuple[str, ...], **flags: Any) -> None:
    """What `h2o run` would serve with the same words: every setting with its value and its origin
    (a flag, a variable, a line of the file, the default), the models, the pools and the prices.

    Secrets are not shown.

    \b
    h2o config show
    h2o config show --config production.yaml --port 7000
    h2o config show --json
    """
    from ..plugins import Plugins
    from .tables import print_json

    found = settings_found(flags)
    settings = Settings(**{name: value for name, (value, _) in found.items()})
    file = current_config()
    specs = configured_servers(servers, settings)
    plugins = Plugins.discover(settings.load_plugins)
    data = {
        "file": file.path if file else None,
        "settings": [_setting(name, value, origin, file, plugins)
                     for name, (value, origin) in found.items()],
        "models": _models(specs, file, plugins),
        "pools": [{"name": pool.name, **pool.written(), "from": file.origin(f"pools.{pool.name}")}
                  for pool in (file.pools if file else ()) if file],
        "prices": [{"model": name, "currency": file.prices.currency, **price.written(),
                    "from": file.origin(f"prices.models.{name}")}
                   for name, price in (file.prices.models.items() if file else ()) if file],
    }  # fmt: skip
    if flags.get("json"):
        print_json(data)
    else:
        _print(data)


def _setting(
    name: str, value: Any, origin: Origin, file: Config | None, plugins: Plugins
) -> dict[str, Any]:
    if isinstance(value, str) and value and not table.about(name).repr:
        value = _server(value, plugins) if name in SERVER_STRINGS else MASK
    place = origin.name or origin.kind
    if origin.kind == "file" and file is not None:
        place = file.origin(f"settings.{name}")
    elif name == "config" and value and not origin.name:
        place = "this folder"
    return {"name": name, "value": value, "from": place}


def _models(
    specs: tuple[ServerSpec, ...], file: Config | None, plugins: Plugins
) -> list[dict[str, Any]]:
    """The entries as they will be numbered; those of the file are the last ones."""
    from ..lock import visible

    first = len(specs) - (len(file.entries) if file else 0)
    rows = []
    for number, (spec, name) in enumerate(zip(specs, visible.unique(specs), strict=True)):
        place = "command line or environment"
        if number >= first and file is not None:
            place = file.origin(f"models[{number - first}]")
        rows.append({"number": number, "name": name, "server": _server(str(spec.server), plugins),
                     "visible": spec.visible is True, "from": place})  # fmt: skip
    return rows


def _server(text: str, plugins: Plugins) -> str:
    """A server string without its secrets; of one that cannot be read only the beginning."""
    from ..errors import RelayError

    try:
        return plugins.parse(text).shown
    except RelayError:
        return f"{text.partition(':')[0]}:{MASK}"


def _print(data: Mapping[str, Any]) -> None:
    from .tables import print_table

    rows = [(row["name"], _text(row["name"], row["value"]), row["from"])
            for row in data["settings"]]  # fmt: skip
    print_table(("Setting", "Value", "From"), rows)
    if data["models"]:
        click.echo()
        print_table(
            ("", "Model", "Server", "From"),
            [(row["number"], row["name"] or "(what the server lists)", row["server"], row["from"])
             for row in data["models"]],
        )  # fmt: skip
    if data["prices"]:
        click.echo()
        print_table(
            ("Price of a million tokens of", "Currency", "Input", "Output", "Cached", "From"),
            [(row["model"], row["currency"], row["input"], row["output"], row.get("cached_input"),
              row["from"]) for row in data["prices"]],
        )  # fmt: skip
    if data["pools"]:
        click.echo()
        print_table(
            ("Pool", "Strategy", "Members", "From"),
            [(row["name"], row.get("strategy", "least-load"),
              ", ".join(map(str, row["members"])), row["from"]) for row in data["pools"]],
        )  # fmt: skip


def _text(name: str, value: Any) -> str | None:
    if value is None or value == "":
        return None
    return shown(value, table.about(name).metadata["unit"])
