"""`h2o plugin install`: pip, in the environment that h2o runs in."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import click

from ..settings import user_path
from .failures import FAILED, Failure, Mistake
from .notes import note
from .options import RelayCommand, switch

PREFIX = "h2o-relay-"
WORD = re.compile(r"(?P<name>[A-Za-z0-9]+(?:[._-]+[A-Za-z0-9]+)*)(?P<rest>(\[.*\])?\s*[<>=!~].*)?")
PIP = ("install", "--disable-pip-version-check", "--no-input")
LIST = "import sys; from h2o_relay.cli import main; sys.exit(main(['plugin', 'list', '--json']))"

NO_NETWORK = re.compile(
    r"NameResolutionError|Temporary failure in name resolution|NewConnectionError"
    r"|ConnectTimeoutError|Network is unreachable|ProxyError|Max retries exceeded"
)
REASONS = (
    (re.compile(r"externally-managed-environment"),
     "this Python is managed by the system: install h2o relay in a virtual environment"),
    (re.compile(r"No space left on device"), "no space is left on the device"),
    (re.compile(r"Permission denied"), "this environment's folder cannot be written to"),
    (re.compile(r"THESE PACKAGES DO NOT MATCH THE HASHES"), "a package does not match its hash"),
    (re.compile(r"ResolutionImpossible|conflicting dependencies"),
     "what they need does not go together with what is installed"),
)  # fmt: skip
MISSING = re.compile(r"No matching distribution found for (\S+)")
SHOWN = 15  # lines of pip's own words


@dataclass(frozen=True, slots=True)
class Wanted:
    """What pip is told, and the name by which the distribution would be installed, if known."""

    arguments: tuple[str, ...]
    distribution: str | None


@click.command(name="install", cls=RelayCommand)
@click.argument("names", nargs=-1, required=True, metavar="NAME... [-- PIP-OPTIONS]")
@switch("editable", help="Folders are used where they are, so that changes count at once.")
@switch("upgrade", help="The newest versions, in place of what is installed.")
def install_plugins(names: tuple[str, ...], **flags: Any) -> None:
    """Install plugins with the pip of this environment, and list what is new.

    NAME is a plugin (`ollama` is the distribution h2o-relay-ollama), a distribution with a
    version (`h2o-relay-ollama==0.1`), a folder, a wheel or a URL.

    \b
    h2o plugin install ollama tgi
    h2o plugin install --editable ./h2o-relay-acme
    h2o plugin install ./h2o-relay-acme -- --no-deps --no-build-isolation
    """
    wanted = [_read(name, bool(flags.get("editable"))) for name in names if name[:1] != "-"]
    options = [name for name in names if name[:1] == "-"]
    if not wanted:
        raise Mistake("no plugin is named", "see: h2o plugin install --help")
    if flags.get("upgrade"):
        options.append("--upgrade")
    else:
        wanted = [item for item in wanted if not _is_there(item)]
    if not wanted:
        return
    if find_spec("pip") is None:
        raise Failure(
            f"this environment has no pip: {sys.prefix}",
            f"get it with `{sys.executable} -m ensurepip`, or use what made the environment "
            "(uv pip install ...)",
        )
    before = listed()
    _run_pip([*options, *(word for item in wanted for word in item.arguments)])
    if not _show_new(before, listed()):
        click.get_current_context().exit(FAILED)


def _read(name: str, editable: bool) -> Wanted:
    """Raises Mistake for what is neither a name nor a place."""
    path = user_path(name)
    if path.is_dir():
        if not (path / "pyproject.toml").is_file():
            raise Mistake(f"{name} is a folder without a pyproject.toml")
        place = str(path.resolve())
        return Wanted(("--editable", place) if editable else (place,), None)
    if "://" in name or path.is_file():
        return Wanted((name,), None)
    if "/" in name or "\\" in name or name.startswith("."):
        raise Mistake(f"there is no folder or file {name}")
    match = WORD.fullmatch(name)
    if match is None:
        raise Mistake(f"{name!r} is no plugin, distribution, folder or URL")
    short = re.sub(r"[._-]+", "-", match["name"]).lower()
    full = short if short.startswith(PREFIX) else PREFIX + short
    rest = match["rest"] or ""
    return Wanted((full + rest,), None if rest else full)


def _is_there(item: Wanted) -> bool:
    if item.distribution is None:
        return False
    try:
        found = version(item.distribution)
    except PackageNotFoundError:
        return False
    note(f"{item.distribution} {found} is installed already (--upgrade gets the newest)")
    return True


def _run_pip(arguments: Sequence[str]) -> None:
    """Raises Failure, which says what went wrong, with the end of pip's own words as its hint."""
    command = [sys.executable, "-m", "pip", *PIP, *arguments]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    )  # fmt: skip
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        raise Failure(_reason(done.stdout), "\n".join(f"  pip: {line}" for line in lines[-SHOWN:]))


def _reason(said: str) -> str:
    for pattern, reason in REASONS:
        if pattern.search(said):
            return reason
    # Without a network pip finds no distribution either: what it says last is not the cause.
    if NO_NETWORK.search(said):
        return "the package index cannot be reached: no network, or a proxy is needed"
    missing = MISSING.search(said)
    if missing:
        return f"there is no distribution {missing[1]} for this Python on the package index"
    return "pip could not install it"


def listed() -> dict[str, dict[str, Any]]:
    """The plugins that a new process finds, by name; this one would not see what is new."""
    done = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True)
    if done.returncode:
        raise Failure("the plugins cannot be listed", done.stderr.strip())
    return {item["name"]: item for item in json.loads(done.stdout)}


def _show_new(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> bool:
    """A table of what is new or changed; False if one of these is broken, or there is none."""
    from .tables import print_table

    new = [item for name, item in after.items() if item != before.get(name)]
    if not new:
        note("pip is done, but no plugin is new: what was installed has no entry point of group "
             "h2o_relay, or was there already")  # fmt: skip
        return bool(after)
    print_table(
        ("Plugin", "Distribution", "Version", "Prefixes", "State"),
        [(item["name"], item["distribution"], item["version"], ", ".join(item["prefixes"]),
          item["error"] or "ready") for item in new],
    )  # fmt: skip
    return all(item["error"] is None for item in new)
