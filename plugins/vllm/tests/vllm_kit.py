"""For tests of the vLLM that the relay starts: a fake one in the settings, and its processes."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import alive

FAKE = Path(__file__).with_name("vllm_fake.py")
COMMAND = shlex.join([sys.executable, str(FAKE)])
SETTINGS = ("COMMAND", "PYTHON", "ARGS", "START_LIMIT")


class Fake:
    """The fake that the relay will start, and what became of it."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self._patch = patch
        self.notes = folder / "notes"
        for name in SETTINGS:
            patch.delenv(f"H2O_VLLM_{name}", raising=False)
        self.set(COMMAND=COMMAND)
        self.plan()

    def set(self, **options: str | None) -> None:
        """Set H2O_VLLM_<NAME>; None takes it away."""
        for name, value in options.items():
            if value is None:
                self._patch.delenv(f"H2O_VLLM_{name}", raising=False)
            else:
                self._patch.setenv(f"H2O_VLLM_{name}", value)

    def plan(self, **what: Any) -> None:
        """What the next ones do: see `vllm_fake`."""
        self._patch.setenv("VLLM_FAKE", json.dumps({"notes": str(self.notes), **what}))

    @property
    def starts(self) -> list[dict[str, Any]]:
        if not self.notes.exists():
            return []
        # A last line without its end is still being written.
        whole = self.notes.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    @property
    def pids(self) -> list[int]:
        """Every process of every start."""
        return [pid for start in self.starts for pid in start["pids"]]

    @property
    def alive(self) -> list[int]:
        return [pid for pid in self.pids if alive(pid)]
