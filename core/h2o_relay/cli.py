"""The command line, `h2o`: finds its commands, and turns whatever ends one into an exit code.

Exit codes: 0 done, 1 failed at run time, 2 wrong use or configuration, 3 no relay answers (of the
commands about one that runs), 130 interrupted, and 128 and the signal's number for another signal.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click

from . import settings
from .commands.failures import INTERRUPTED, Stopped, explain, tell
from .commands.options import readable, setting_option

COMMANDS = {
    "run": "run:run",
    "serve": "run:serve",
    "chat": "chat:chat",
    "ask": "ask:ask",
    "check": "check:check",
    "models": "models:models",
    "status": "status:status",
    "route": "route:route",
    "keys": "keys:keys",
    "usage": "usage:usage",
    "prompt": "prompt:prompt",
    "config": "config:config",
    "plugin": "plugin:plugin",
    "completion": "completion:completion",
}
ALIASES = {"plugins": "plugin"}


class Commands(click.Group):
    """Imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(ALIASES.get(cmd_name, cmd_name))
        if place is None:
            return None
        module, _, name = place.partition(":")
        found = getattr(import_module(f".commands.{module}", __package__), name)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            names = [*COMMANDS, *ALIASES]
            raise click.exceptions.NoSuchCommand(args[0], possibilities=names, ctx=ctx)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, readable(self, ctx, args))


@click.group(cls=Commands, invoke_without_command=True)
@click.version_option(package_name="h2o-relay", message="h2o relay %(version)s")
@setting_option("log_level")
@click.pass_context
def h2o(ctx: click.Context, log_level: str | None) -> None:
    """One chat UI and one OpenAI-compatible API in front of every LLM server you have.

    \b
    h2o run                                  the embedded model, nothing else needed
    h2o run vllm_chat:http://10.0.0.5:8000   a vLLM server
    h2o check vllm:10.0.0.5:8000             is it there, and what does it serve?
    h2o chat                                 talk to it in the terminal
    cat notes.txt | h2o ask "summarise"      one answer, for scripts
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(args: Sequence[str] | None = None) -> int:
    """Run `h2o` with these words (the process's own if None); returns the exit code."""
    words = list(sys.argv[1:] if args is None else args)
    color = False if settings.environment().get("NO_COLOR") else None
    try:
        code = h2o.main(words, prog_name="h2o", standalone_mode=False, color=color)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Stopped as stopped:
        return 128 + stopped.number
    except Exception as error:
        if wants_traceback(words):
            import traceback

            traceback.print_exception(error)
        found = explain(error)
        tell(found, color)
        return found.code
    return int(code or 0)


def wants_traceback(words: Sequence[str]) -> bool:
    """Whether the log level was set to debug, in the arguments or by the environment."""
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == "--log-level":
            return (value if equals else "".join(words[index + 1 : index + 2])) == "debug"
    env = settings.environment()
    return any(env.get(name) == "debug" for name in settings.env_names("log_level"))
