"""Options made from the fields of `Settings`, and the command class that explains them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import click
from click.shell_completion import CompletionItem

from .. import settings as table
from ..settings import Origin, SettingError, Settings
from ..settings_network import NAMES as NETWORK
from ..settings_page import NAMES as PAGE
from ..settings_secret import NO_PROXY_URL, PROXIES, checked, is_proxy, kept
from .argv import BadSwitch, normalise, repeated
from .config_file import open_config, overrule
from .notes import note
from .option_help import GROUPS, group_of, metavar_of, note_of

LISTENING = frozenset(
    {
        "host",
        "port",
        "ui",
        "openai_server",
        "allow_api",
        "allow_open",
        "discover",
        "discover_ports",
        "write_timeout",
        "drain_timeout",
        "read_timeout",
        "max_body",
        *NETWORK,
        *PAGE,
    }
)
"""Settings that only matter to a relay that listens."""
COMMON = frozenset(
    {"config", "inference_server", "base_model", "model_lock", "api_key", "openai_port"}
)
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
        params = self.get_params(ctx)
        if any(param.name == "model_lock" for param in params):
            args = self._of_h2ogpt(ctx, args)
        args = readable(self, ctx, args)
        single = [p for p in params if isinstance(p, RelayOption) and not (p.is_flag or p.multiple)]
        for name in repeated(args, {name for param in single for name in param.opts}):
            if not ctx.resilient_parsing:
                note(f"{name} is given more than once; the last one counts")
        return super().parse_args(ctx, args)

    def _of_h2ogpt(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take out the flags that only h2oGPT has, and say what became of them."""
        from . import h2ogpt_flags, lock_flag

        own = {name for param in self.get_params(ctx) for name in param.opts}
        kept, lines = h2ogpt_flags.without(args, own)
        if ctx.resilient_parsing:
            return kept
        if lock_flag.words_of(kept):
            lock_flag.refuse_pieces(kept)
        if any(param.name in LISTENING for param in self.get_params(ctx)):
            settings = {item.name for item in fields(Settings)}
            lines += h2ogpt_flags.of_environment(table.environment(), settings)
        for line in lines:
            note(line)
        return kept

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


def settings_of(flags: Mapping[str, Any], **fixed: Any) -> Settings:
    """Settings from a command's parameters, those of the `h2o` group, the environment and the
    command's configuration file.

    Parameters that are no settings are left out; `fixed` overrules the rest. Raises SettingError.
    """
    found = settings_found(flags, **fixed)
    return Settings(**{name: value for name, (value, _) in found.items()})


def settings_found(flags: Mapping[str, Any], **fixed: Any) -> dict[str, tuple[Any, Origin]]:
    """The same as values by name, each with where it is from."""
    names = {item.name for item in fields(Settings)}
    chosen = {name: flags[name] for name in names & set(flags)} | fixed
    chosen["log_level"] = chosen_level(chosen)
    for name in names & set(chosen):
        if not table.about(name).repr and isinstance(chosen[name], str):
            chosen[name] = secret(name, chosen[name])
    env = _one_source(chosen)
    file = open_config(chosen, env)
    found = table.found(chosen, env, file.settings if file else None)
    if file is not None and not chosen.get("config"):
        found["config"] = (file.path, found["config"][1])
    _check_proxies(found)
    overrule({name for name, (_, o) in found.items() if o.kind in ("flag", "environment")})
    return found


def _one_source(chosen: Mapping[str, Any]) -> dict[str, str]:
    """The environment without what the command line says in another way: a lock and servers
    exclude each other, and what was typed is what is meant.
    """
    context = click.get_current_context(silent=True)
    servers = context.params.get("servers") if context else None
    one = ("inference_server", "base_model")
    names: tuple[str, ...] = ()
    if chosen.get("model_lock") is not None:
        names = one
    elif servers or any(chosen.get(name) is not None for name in one):
        names = ("model_lock",)
    left_out = {variable for name in names for variable in table.env_names(name)}
    return {name: text for name, text in table.environment().items() if name not in left_out}


def chosen_level(flags: Mapping[str, Any]) -> str | None:
    """The log level that was asked for, after the command or before it."""
    level = flags.get("log_level")
    return level or click.get_current_context().find_root().params.get("log_level")


def secret(name: str, value: str) -> str:
    """A secret as it was typed, or from where it is kept: `env:NAME`, `file:PATH`, `-` for stdin.

    Raises SettingError.
    """
    flag = "--" + name.replace("_", "-")
    if value != "-":
        return kept(value, flag, table.environment())
    try:
        return checked(sys.stdin.readline(), flag, "stdin")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise SettingError(f"{flag}: cannot read stdin: {reason}") from None


def _check_proxies(found: Mapping[str, tuple[Any, Origin]]) -> None:
    """Refuse a proxy that is no URL, naming where it was set and not what it holds."""
    for name in PROXIES:
        text, origin = found[name]
        if text is not None and not is_proxy(text):
            raise SettingError(f"{origin.name}: {NO_PROXY_URL}")
