"""Plugins that count as installed, and `h2o` in a process that finds them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
MARKOV = ROOT / "examples" / "h2o-relay-markov"
PATIENCE = 55  # seconds
Said = tuple[int, str, str]


def h2o(*words: str | Path, path: list[Path]) -> Said:
    """`h2o` in a process of its own, with these folders of packages beside the installed ones."""
    code = "import sys; from h2o_relay.cli import main; sys.exit(main())"
    env = {k: v for k, v in os.environ.items() if not k.startswith("H2O_")}
    joined = os.pathsep.join([*map(str, path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env={**env, "PYTHONPATH": joined},
        capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def metadata(site: Path, name: str, points: str, url: str = "") -> None:
    """The dist-info of an installed distribution."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    if url:
        (info / "direct_url.json").write_text(json.dumps({"url": url, "dir_info": {}}))


def installed(site: Path, project: Path) -> list[Path]:
    """The folders that make a project's folder count as installed."""
    about = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    points = ""
    for group, entries in about["entry-points"].items():
        points += f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
    metadata(site, about["name"], points, project.as_uri())
    return [site, project]


def copied(folder: Path, **changes: tuple[str, str]) -> Path:
    """The markov example with texts exchanged in one of its modules (`module=(old, new)`)."""
    project = folder / "markov"
    shutil.copytree(MARKOV, project, ignore=shutil.ignore_patterns("__pycache__"))
    for module, (old, new) in changes.items():
        path = project / f"{module}.py"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
    return project
