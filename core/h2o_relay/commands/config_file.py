"""The configuration file of the command that runs: which one, and what it says."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import settings as table
from .notes import note, warn

if TYPE_CHECKING:
    from ..config import Config

NAME = "h2o.yaml"
ASKED = "h2o_relay.config"
FIXED = "h2o_relay.fixed"
AT_HAND = frozenset({"run", "serve", "check", "show"})
"""Commands that read ./h2o.yaml where nothing else is named: those that are about servers, and ask
no relay that runs."""
SERVERS = ("inference_server", "model_lock", "base_model")


def open_config(chosen: Mapping[str, Any], env: Mapping[str, str]) -> Config | None:
    """The configuration that the command's flags, `H2O_CONFIG` or the folder say; None for none.

    `chosen` are the command's settings as typed. Says so where the file is the folder's. Raises
    ConfigError.
    """
    context = click.get_current_context()
    context.meta[ASKED] = None
    if "config" not in chosen:  # a command without servers
        return None
    path = named(chosen["config"], env)
    if path is None and not _names_servers(context, chosen, env):
        path = at_hand(context)
    if path:
        context.meta[ASKED] = read(path)
    return current_config()


def read(path: str) -> Config:
    """Raises ConfigError."""
    from ..config import read_config

    return read_config(path, table.environment())


def current_config() -> Config | None:
    """What `open_config` has read for this command."""
    context = click.get_current_context(silent=True)
    return context.meta.get(ASKED) if context else None


def overrule(names: Collection[str]) -> None:
    """Keep which settings flags and the environment have set for this command."""
    click.get_current_context().meta[FIXED] = frozenset(names) | {"config"}


def overruled() -> frozenset[str]:
    """The settings that a change of the file does not change (`settings.reloaded`)."""
    context = click.get_current_context(silent=True)
    found: frozenset[str] = context.meta.get(FIXED, frozenset()) if context else frozenset()
    return found


def named(flag: str | None, env: Mapping[str, str]) -> str | None:
    """The file that was asked for; "" for none at all, None if nobody said anything."""
    if flag is not None:
        return flag
    names = (env.get(name, "") for name in table.env_names("config"))
    return next((name for name in names if name.strip().lower() not in table.UNSET), None)


def at_hand(context: click.Context) -> str | None:
    """./h2o.yaml, if the command reads it unasked."""
    asks = any(param.name == "servers" for param in context.command.params)
    path = Path(NAME)
    if not asks or context.command.name not in AT_HAND or not path.is_file():
        return None
    if not _is_ours(path):
        warn(f"{NAME} of this folder is left out, for others can write it (--config {NAME})")
        return None
    note(f"{NAME} of this folder is read (--config= leaves it out)")
    return NAME


def _is_ours(path: Path) -> bool:
    """Whether nobody but this user and root can have written a file: it may send the environment's
    keys to any server.
    """
    if not hasattr(os, "getuid"):
        return True
    found = path.stat()
    return found.st_uid in (os.getuid(), 0) and not found.st_mode & stat.S_IWOTH


def _names_servers(
    context: click.Context, chosen: Mapping[str, Any], env: Mapping[str, str]
) -> bool:
    if context.params.get("servers") or any(chosen.get(name) is not None for name in SERVERS):
        return True
    variables = (env.get(variable, "") for name in SERVERS for variable in table.env_names(name))
    return any(text.strip().lower() not in table.UNSET for text in variables)
