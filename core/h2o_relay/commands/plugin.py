"""`h2o plugin`: which plugins are installed, and how they are doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .logs import log_if_asked
from .options import RelayCommand, chosen_level, setting_option, settings_of, switch

if TYPE_CHECKING:
    from ..plugins import PluginInfo


@click.group(invoke_without_command=True, short_help="List the plugins.")
@click.pass_context
def plugin(ctx: click.Context) -> None:
    """The plugins that are installed, and which server strings they read.

    \b
    h2o plugin list
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_plugins)


@plugin.command(name="list", cls=RelayCommand)
@switch("json", help="Print JSON.")
@setting_option("load_plugins")
@setting_option("log_level", hidden=True)
def list_plugins(**flags: Any) -> None:
    """Name, version, prefixes and hooks of each plugin, or why it could not be loaded.

    \b
    h2o plugin list
    h2o plugin list --json
    """
    from ..plugins import Plugins
    from .tables import print_json, print_table

    settings = settings_of(flags)
    log_if_asked(chosen_level(flags))
    infos = Plugins.discover(settings.load_plugins).infos()
    if flags.get("json"):
        print_json([as_json(info) for info in infos])
        return
    if not infos:
        click.echo('no plugins are installed; try: pip install "h2o-relay[plugins]"')
        return
    rows = [
        (info.name, info.distribution, info.version, ", ".join(info.prefixes),
         ", ".join(info.hooks), info.error or "ready")
        for info in infos
    ]  # fmt: skip
    print_table(("Plugin", "Distribution", "Version", "Prefixes", "Hooks", "State"), rows)


def as_json(info: PluginInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "distribution": info.distribution,
        "version": info.version,
        "prefixes": list(info.prefixes),
        "hooks": list(info.hooks),
        "error": info.error,
    }
