"""Runs a command's `main` and samples where it is, by its own CPU time.

`python -m benchmarks.sampler FILE MODULE ARGUMENTS...`. SIGUSR1 turns sampling on and off again. A
sample falls on the Python line that runs or that called what runs, so the work of C extensions and
of the kernel is on the line that asked for it; what the loop does by itself is on the line that
started the loop.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

import orjson

# The kernel looks at this timer a few hundred times a second at most.
INTERVAL = 0.001


class Sampler:
    """Counts lines on top of the stack, and functions anywhere on it."""

    def __init__(self) -> None:
        self.on = False
        self.total = 0
        self.lines: Counter[str] = Counter()
        self.functions: Counter[str] = Counter()

    def toggle(self, number: int, frame: FrameType | None) -> None:
        self.on = not self.on
        interval = INTERVAL if self.on else 0
        signal.setitimer(signal.ITIMER_PROF, interval, interval)

    def sample(self, number: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        self.total += 1
        self.lines[f"{_place(frame)}:{frame.f_lineno} {frame.f_code.co_name}"] += 1
        seen = set()
        while frame is not None:
            seen.add(f"{_place(frame)} {frame.f_code.co_qualname}")
            frame = frame.f_back
        self.functions.update(seen)

    def write(self, file: Path) -> None:
        plain = {"total": self.total, "lines": self.lines, "functions": self.functions}
        file.write_bytes(orjson.dumps(plain))


def _place(frame: FrameType) -> str:
    """The last two parts of a file's path."""
    return "/".join(Path(frame.f_code.co_filename).parts[-2:])


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def main() -> None:
    file, module, *arguments = sys.argv[1:]
    sampler = Sampler()
    signal.signal(signal.SIGUSR1, sampler.toggle)
    signal.signal(signal.SIGPROF, sampler.sample)
    # uvicorn raises the signal that stopped it once more; the samples must outlive that.
    signal.signal(signal.SIGTERM, _leave)
    sys.argv = [module, *arguments]
    try:
        importlib.import_module(module).main()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        sampler.write(Path(file))


if __name__ == "__main__":
    main()
