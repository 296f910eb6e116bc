"""`h2o config`: write a configuration file, check it, and see what is in force."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from .failures import USAGE
from .options import RelayCommand, setting_option, switch

OTHERS = {"export": "config_export:export", "init": "config_init:init", "show": "config_show:show"}
"""Commands in modules of their own, imported when they are asked for."""
NAME = "h2o.yaml"


class ConfigCommands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *OTHERS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in OTHERS:
            return super().get_command(ctx, cmd_name)
        module, _, name = OTHERS[cmd_name].partition(":")
        found = getattr(import_module(f".{module}", __package__), name)
        assert isinstance(found, click.Command)
        return found


@click.group(cls=ConfigCommands, invoke_without_command=True,
             short_help="Write, check and explain h2o.yaml.")  # fmt: skip
@click.pass_context
def config(ctx: click.Context) -> None:
    """Settings, models and pools in one file.

    \b
    h2o config init                 write h2o.yaml, with everything explained in it
    h2o config check                every mistake in it, with its line
    h2o run --config h2o.yaml       serve what it says
    h2o config show                 which settings are in force, and where each is from
    h2o config schema               for your editor
    h2o config export               what a running relay serves, as such a file

    What is set elsewhere wins over the file: first the command line, then the environment, then
    the file, then the default.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@config.command(cls=RelayCommand, short_help="Print the JSON Schema of the file.")
def schema() -> None:
    """The JSON Schema of the file, by which editors complete and check what you write.

    \b
    h2o config schema > h2o.schema.json

    With the line below at the top of h2o.yaml, editors that use the YAML language server find it:

    \b
    # yaml-language-server: $schema=h2o.schema.json
    """
    from ..config import schema
    from .tables import print_json

    print_json(schema())


@config.command(cls=RelayCommand, short_help="Tell every mistake in a file.")
@click.argument("file", required=False, metavar="[FILE]", type=click.Path())
@switch("json", help="Print JSON.")
@setting_option("load_plugins")
@setting_option("log_level", hidden=True)
def check(file: str | None, **flags: Any) -> int:
    """Read a file as `h2o run` would, and tell all that is wrong with it, with lines.

    Without FILE it is the one in H2O_CONFIG, else h2o.yaml. The network is not touched: whether
    the servers are there is told by `h2o check --config FILE`. Exits with 2 if there is a mistake.

    \b
    h2o config check
    h2o config check production.yaml --json
    """
    from ..config import ConfigError
    from .config_checking import checked, told
    from .failures import explain, tell
    from .tables import print_json

    path = file or _usual()
    try:
        found, notes = checked(path, flags.get("load_plugins"))
    except ConfigError as error:
        if flags.get("json"):
            problems = [problem.data() for problem in error.problems]
            print_json({"file": path, "ok": False, "problems": problems, "notes": []})
        else:
            tell(explain(error))
        return USAGE
    if flags.get("json"):
        print_json({"file": path, "ok": True, "problems": [], "notes": notes})
    else:
        told(found, notes)
    return 0


def _usual() -> str:
    """The file that is meant where none is named."""
    from .. import settings
    from .config_file import named

    return named(None, settings.environment()) or NAME
