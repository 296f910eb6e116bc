"""Other gateways, installed beside the project: which versions, and where they are.

`peers.toml` pins them. Each has a virtual environment of its own in the user's folder for caches,
made by the Python that runs the benchmark, and made anew when a pin or the Python changes.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import platformdirs

PINS = Path(__file__).with_name("peers.toml")
INSTALL = 600.0
Say = Callable[[str], None]


class Unavailable(Exception):
    """A peer cannot be had here; its text says why, in a line."""


def folder() -> Path:
    return platformdirs.user_cache_path("h2o-relay") / "benchmarks"


def pins() -> dict[str, list[str]]:
    """The packages of each peer, with their versions."""
    with PINS.open("rb") as file:
        return {name: table["packages"] for name, table in tomllib.load(file).items()}


def version(name: str) -> str:
    """The version that a peer is pinned to."""
    return pins()[name][0].partition("==")[2]


def python(name: str, where: Path | None = None) -> Path:
    """The Python of an installed peer's environment."""
    return (where or folder()) / name / "bin" / "python"


def install(name: str, say: Say, where: Path | None = None) -> None:
    """Installs a peer, if it is not there yet. Raises Unavailable."""
    root = (where or folder()) / name
    made = root / "installed.txt"
    wanted = "\n".join([platform.python_version(), *pins()[name]])
    if made.exists() and made.read_text("utf-8") == wanted:
        return
    say(f"installing {' '.join(pins()[name])}")
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", str(root)])
    # Only what is built: a build would run the package's own code, and take minutes.
    pip = [str(root / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q"]
    _run([*pip, "install", "--only-binary", ":all:", *pins()[name]])
    made.write_text(wanted, "utf-8")


def _run(command: list[str]) -> None:
    """Raises Unavailable with the last line that the command wrote, if it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=INSTALL, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise Unavailable(str(exc)) from exc
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise Unavailable(said.splitlines()[-1])
