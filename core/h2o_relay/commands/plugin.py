"""`h2o plugin`: which plugins are installed, and how to write, install and check one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from .logs import log_if_asked
from .options import RelayCommand, chosen_level, setting_option, settings_of, switch

if TYPE_CHECKING:
    from ..plugins import PluginInfo


OTHERS = {
    "new": "plugin_new:new_plugin",
    "check": "plugin_check:check_plugins",
    "install": "plugin_install:install_plugins",
}
"""Commands in modules of their own, imported when they are asked for."""


class PluginCommands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *OTHERS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in OTHERS:
            return super().get_command(ctx, cmd_name)
        module, _, name = OTHERS[cmd_name].partition(":")
        found = getattr(import_module(f".{module}", __package__), name)
        assert isinstance(found, click.Command)
        return found


@click.group(cls=PluginCommands, invoke_without_command=True,
             short_help="List, check, install and write plugins.")  # fmt: skip
@click.pass_context
def plugin(ctx: click.Context) -> None:
    """The plugins that are installed, which server strings they read, and how to get more.

    \b
    h2o plugin list
    h2o plugin install ollama
    h2o plugin new acme
    h2o plugin check acme
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
