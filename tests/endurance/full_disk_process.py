"""`fleet_process.py` with a disk of its own that is soon full: a tmpfs of `SIZE` at the folder of
`--save-dir`, in a mount namespace that only this process sees (unshare(1)); no root is needed where
user namespaces are allowed.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

SIZE = "2m"
HELD = Path(__file__).parents[1] / "e2e" / "fleet_process.py"


def main() -> None:
    folder = next(w for w in sys.argv if w.startswith("--save-dir=")).partition("=")[2]
    Path(folder).mkdir(exist_ok=True)
    words = shlex.join([sys.executable, str(HELD), *sys.argv[1:]])
    mount = f"mount -t tmpfs -o size={SIZE} tmpfs {shlex.quote(folder)}"
    os.execvp("unshare", ["unshare", "-Urm", "sh", "-c", f"{mount} && exec {words}"])


if __name__ == "__main__":
    main()
