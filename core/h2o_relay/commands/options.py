"""Options made from the fields of `Settings`, and the command class that explains them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from .. import settings as table
from ..settings import SettingError, Settings
from .argv import BadSwitch, normalise

GROUPS = ("Servers", "Network", "Timeouts", "Limits", "Other")
SERVERS = frozenset({"inference_server", "base_model", "default_server", "load_plugins"})
NETWORK = frozenset(
    {"host", "ui", "api_key", "allow_open", "http_proxy", "https_proxy", "no_proxy", "ca_file"}
)
LISTENING = frozenset(
    {
        "host",
        "port",
        "ui",
        "allow_open",
        "write_timeout",
        "drain_timeout",
        "read_timeout",
        "max_body",
    }
)
"""Settings that only matter to a relay that listens."""
COMMON = frozenset({"inference_server", "base_model", "api_key", "openai_port"})
"""Settings that the help of every command shows; the others are accepted silently."""


class RelayOption(click.Option):
    """An option in a group of the help; `None` as its value means that it is not set."""

    def __init__(self, *names: Any, group: str = "Options", note: str = "", **rest: Any) -> None:
        super().__init__(*names, **rest)
        self.group = group
        self.note = note

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        if isinstance(value, str) and value.strip().lower() == "none":
            return None
        return super().type_cast_value(ctx, value)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        if record is None or not self.note:
            return record
        return record[0], f"{record[1]}  [{self.note}]"


class RelayCommand(click.Command):
    """A command that accepts h2oGPT's spelling of options and groups them in its help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, readable(self, ctx, args))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                rows.setdefault(getattr(param, "group", "Options"), []).append(record)
        for group in ("Options", *GROUPS):
            if group in rows:
                with formatter.section(group):
                    formatter.write_dl(rows[group], col_max=26)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        params = self.get_params(ctx)
        if any(isinstance(p, RelayOption) and p.hidden and p.group == "Timeouts" for p in params):
            formatter.write_paragraph()
            formatter.write_text("Proxies, timeouts and limits can be set as for `h2o run`.")


def readable(command: click.Command, ctx: click.Context, args: Sequence[str]) -> list[str]:
    """`args` normalised by what the command knows of its own options."""
    switches: set[str] = set()
    valued: set[str] = set()
    for param in command.get_params(ctx):
        if isinstance(param, click.Option) and not param.is_flag and not param.count:
            valued.update(param.opts)
        elif isinstance(param, RelayOption):
            switches.update(name for name in param.opts if name.startswith("--"))
    stop = not command.allow_interspersed_args
    try:
        return normalise(args, switches=switches, valued=valued, stop_at_word=stop)
    except BadSwitch as error:
        raise click.UsageError(str(error), ctx) from None


def switch(name: str, help: str, **rest: Any) -> Callable[[Any], Any]:
    """A decorator for an option that is on or off, and unset unless it is given."""
    return click.option(
        f"--{name}/--no-{name}", cls=RelayOption, default=None, help=help, **rest
    )  # fmt: skip


def valued(*names: str, help: str, **rest: Any) -> Callable[[Any], Any]:
    """A decorator for an option with a value."""
    return click.option(*names, cls=RelayOption, help=help, **rest)


def setting_options(*, listening: bool) -> Callable[[Any], Any]:
    """A decorator: every setting as an option; without `listening` those of a client only."""

    def decorate(function: Any) -> Any:
        for item in reversed(fields(Settings)):
            if listening or item.name not in LISTENING:
                hidden = not listening and item.name not in COMMON
                function = setting_option(item.name, hidden=hidden)(function)
        return function

    return decorate


def setting_option(name: str, *, hidden: bool = False) -> Callable[[Any], Any]:
    """A decorator: one setting as an option."""
    item = table.about(name)
    about: dict[str, Any] = {
        "help": item.metadata["help"],
        "group": group_of(name),
        "note": note_of(name),
        "hidden": hidden,
        "default": None,
        "cls": RelayOption,
    }
    flag = "--" + name.replace("_", "-")
    if table.kind(name) is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", name, **about)
    choices: tuple[str, ...] = item.metadata["choices"]
    if choices:
        about["shell_complete"] = lambda ctx, param, word: [
            CompletionItem(choice) for choice in choices if choice.startswith(word)
        ]
    return click.option(flag, name, metavar=metavar_of(name), **about)


def group_of(name: str) -> str:
    """The heading under which help shows a setting."""
    item = table.about(name)
    if name in SERVERS:
        return "Servers"
    if name in NETWORK or name.endswith("port"):
        return "Network"
    if item.metadata["unit"] == "seconds":
        return "Timeouts"
    return "Limits" if name.startswith("max_") else "Other"


def metavar_of(name: str) -> str:
    """What stands for a setting's value in help: its choices, its unit, or its kind."""
    item = table.about(name)
    if item.metadata["choices"]:
        return "|".join(item.metadata["choices"])
    if item.metadata["unit"]:
        return str(item.metadata["unit"]).upper()
    for ending in ("port", "file", "host", "key", "server"):
        if name.endswith(ending):
            return ending.upper()
    return "NUMBER" if table.kind(name) in (int, float) else "TEXT"


def note_of(name: str) -> str:
    """A setting's default and its environment variables, for help."""
    item = table.about(name)
    value = table.default(name)
    default = [] if value in (None, "") else [f"default: {shown(value, item.metadata['unit'])}"]
    variables = [table.env_names(name)[0], *item.metadata["env"]]
    env = ", ".join(variable for variable in variables if variable.isupper())
    return "; ".join([*default, f"env: {env}"])


def shown(value: Any, unit: str = "") -> str:
    """A value as help writes it: `on`, `5000`, `16MB`."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if unit == "bytes" and value % 2**20 == 0:
        return f"{value // 2**20}MB"
    return f"{value:g}" if isinstance(value, float) else str(value)


def settings_of(flags: Mapping[str, Any], **fixed: Any) -> Settings:
    """Settings from a command's parameters, those of the `h2o` group and the environment.

    Parameters that are no settings are left out; `fixed` overrules the rest. Raises SettingError.
    """
    names = {item.name for item in fields(Settings)}
    chosen = {name: flags[name] for name in names & set(flags)} | fixed
    chosen["log_level"] = chosen_level(chosen)
    for name in names & set(chosen):
        if not table.about(name).repr and isinstance(chosen[name], str):
            chosen[name] = secret(name, chosen[name])
    settings = table.load(chosen)
    _check_proxies(settings, chosen)
    return settings


def chosen_level(flags: Mapping[str, Any]) -> str | None:
    """The log level that was asked for, after the command or before it."""
    level = flags.get("log_level")
    return level or click.get_current_context().find_root().params.get("log_level")


def secret(name: str, value: str) -> str:
    """A secret as it was typed, or from where it is kept: `env:NAME`, `file:PATH`, `-` for stdin.

    Raises SettingError.
    """
    flag = "--" + name.replace("_", "-")
    source, _, rest = value.partition(":")
    if source == "env":
        found = table.environment().get(rest)
        if not found:
            raise SettingError(f"{flag}: the environment variable {rest} is not set")
        return found
    if value == "-" or source == "file":
        try:
            text = sys.stdin.readline() if value == "-" else _first_line(rest)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            raise SettingError(f"{flag}: cannot read {rest or 'stdin'}: {reason}") from None
        if not text.strip():
            raise SettingError(f"{flag}: {rest or 'stdin'} holds no key")
        return text.strip()
    return value


def _first_line(path: str) -> str:
    with Path(path).expanduser().open(encoding="utf-8") as file:
        return file.readline()


def _check_proxies(settings: Settings, flags: Mapping[str, Any]) -> None:
    """Refuse a proxy that is no URL, naming where it was set and not what it holds."""
    from urllib.parse import urlsplit

    for name in ("http_proxy", "https_proxy"):
        text = getattr(settings, name)
        if text is None:
            continue
        try:
            parts = urlsplit(text)
            good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            good = False
        if not good:
            env = table.environment()
            variables = [variable for variable in table.env_names(name) if env.get(variable)]
            where = f"--{name.replace('_', '-')}" if flags.get(name) else variables[0]
            raise SettingError(f"{where}: not the URL of a proxy, like http://proxy.example:3128")


def warn(text: str) -> None:
    """One line of warning on stderr."""
    click.echo(click.style("h2o: warning: ", fg="yellow") + text, err=True)
