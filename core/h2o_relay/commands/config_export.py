"""`h2o config export`: what a running relay serves, as a configuration file."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import click

from .failures import Failure, Mistake
from .logs import log_if_asked
from .loops import run_async
from .notes import note
from .options import RelayCommand, chosen_level, settings_of, switch
from .relay_client import RelayClient, relay_options

PATH = "/admin/config"
STDOUT = "-"
OURS = 0o600  # of a file with secrets
ALL = 0o666  # less what the umask takes


@click.command(cls=RelayCommand, short_help="Write what a running relay serves as such a file.")
@click.argument("file", default=STDOUT, metavar="[FILE]", type=click.Path())
@switch("secrets", help="With the keys and passwords; FILE is then for you alone (0600).")
@relay_options
def export(file: str, **flags: Any) -> None:
    """Ask the running relay what it serves, and write it as a file that `h2o run --config` reads;
    without FILE it is printed. A file that is there is never written over.

    It has the servers of the command line, those of the relay's own file and those that were added
    since, the pools, and the settings of its file. Secrets are left out, or masked as ***, unless
    --secrets is given. The relay wants its admin key. Exits with 3 if no relay answers.

    \b
    h2o config export
    h2o config export --secrets new.yaml
    h2o config export --url http://10.0.0.9:5000 --key env:ADMIN_PASS
    """
    from ..export import HEAD

    secrets = bool(flags.get("secrets"))
    settings = settings_of(flags)
    log_if_asked(chosen_level(flags))
    path = None if file == STDOUT else Path(file).expanduser()
    if path is not None and os.path.lexists(path):
        raise _is_there(file)
    text = run_async(_asked(RelayClient(flags, settings), secrets))
    if path is None:
        click.echo(text, nl=False)
    else:
        _write(path, file, text, OURS if secrets else ALL)
        click.echo(f"wrote {file}; next: h2o config check {file}; h2o run --config {file}")
    if text.startswith(HEAD):
        note("secrets are left out, or masked as ***; --secrets writes them")


async def _asked(relay: RelayClient, secrets: bool) -> str:
    query = "?secrets=true" if secrets else ""
    async with relay:
        found = await relay.ask_as_admin("GET", f"{PATH}{query}")
    text = found.get("yaml") if isinstance(found, dict) else None
    if not isinstance(text, str):
        raise Failure(f"the relay at {relay.url} tells it in a form that is not known here")
    return text


def _is_there(file: str) -> Mistake:
    return Mistake(f"{file} is there already", "name another file; nothing is written over")


def _write(path: Path, file: str, text: str, mode: int) -> None:
    """A new file, whole or not at all. Raises Mistake for one that is there, Failure."""
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise _is_there(file) from None
    except OSError as error:
        raise Failure(f"cannot write {file}: {error.strerror}") from None
    try:
        with open(number, "w", encoding="utf-8", newline="\n") as out:
            out.write(text)
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise Failure(f"cannot write {file}: {error.strerror}") from None
