"""An environment to install into and throw away, which has all of this one's packages."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = '#!/bin/sh\nexec "{python}" {how} "$@"\n'
COMMANDS = {
    "h2o": '-c "import sys; from h2o_relay.cli import main; sys.exit(main())"',
    "pip": "-m pip",
}
OFFLINE = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_NO_INDEX": "1",
    "PIP_NO_DEPS": "1",
    "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this one's values the wrong way round
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}
"""pip builds with the tools that are here, and asks no index."""
NOT_PASSED_ON = ("PIP_", "H2O_", "PYTHONPATH", "PYTEST_ADDOPTS")


@dataclass(frozen=True, slots=True)
class Throwaway:
    """A virtual environment with `h2o`, `pip` and `python`."""

    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    def env(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(NOT_PASSED_ON)}
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        return {**kept, "PATH": path, "VIRTUAL_ENV": str(self.folder), **OFFLINE, **more}

    def h2o(
        self, *words: str | Path, cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        command: Sequence[str | Path] = [self.bin / "h2o", *words]
        return subprocess.run(
            command, env=self.env(**env), cwd=cwd or self.folder, capture_output=True, text=True,
            timeout=55, stdin=subprocess.DEVNULL,
        )  # fmt: skip


def make(folder: Path) -> Throwaway:
    """The environment sees this one's packages, those that are installed as links included."""
    venv.create(folder, symlinks=True)
    made = Throwaway(folder)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    lines = [f"import site; site.addsitedir({path!r})" for path in site.getsitepackages()]
    (folder / "lib" / version / "site-packages" / "parent.pth").write_text("\n".join(lines))
    for name, how in COMMANDS.items():
        path = made.bin / name
        path.write_text(SCRIPT.format(python=made.bin / "python", how=how))
        path.chmod(0o755)
    return made
