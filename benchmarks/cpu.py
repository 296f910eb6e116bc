"""CPU time and memory of a process and everything below it, as Linux accounts for them.

Read from `/proc/<pid>/stat` and `/proc/<pid>/status` (proc(5)). Other systems are not supported:
`supported()` is false there and nothing is measured.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
# Fields of stat counted from the one after the command's name, which may hold spaces.
PPID, UTIME, STIME, CUTIME, CSTIME = 1, 11, 12, 13, 14
IDLE_COLUMNS = (3, 4)


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory in MiB; pages that processes share are counted in each."""

    now: float
    peak: float


def supported() -> bool:
    return sys.platform == "linux"


def tick() -> float:
    """Seconds in one unit of the kernel's accounting: usually 0.01."""
    return 1 / os.sysconf("SC_CLK_TCK")


def seconds(pid: int) -> float:
    """User and kernel time of a process, its living descendants and the dead ones it waited for.

    Raises ProcessLookupError if the process is gone.
    """
    total = 0
    for member in tree(pid):
        fields = _stat(member)
        if fields is not None:
            total += sum(int(fields[i]) for i in (UTIME, STIME, CUTIME, CSTIME))
    return total * tick()


def memory(pid: int) -> Memory:
    """Memory of a process and its living descendants; the peaks need not have been at once.

    Raises ProcessLookupError if the process is gone.
    """
    now = peak = 0
    for member in tree(pid):
        lines = (PROC / str(member) / "status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        now += int(fields.get("VmRSS", "0").split()[0])
        peak += int(fields.get("VmHWM", "0").split()[0])
    return Memory(now / 1024, peak / 1024)


def tree(pid: int) -> list[int]:
    """A process and its living descendants; raises ProcessLookupError if it is gone."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields is not None:
                children[int(fields[PPID])].append(int(entry.name))
    if _stat(pid) is None:
        raise ProcessLookupError(f"no process {pid}")
    found = [pid]
    for member in found:
        found.extend(children[member])
    return found


def core_busy(core: int) -> float:
    """Seconds that one core has worked since the machine started, whoever it worked for."""
    for line in (PROC / "stat").read_text().splitlines():
        name, *columns = line.split()
        if name == f"cpu{core}":
            # The last two columns, guests' time, are counted in the first two already.
            numbers = [int(column) for column in columns[:8]]
            return (sum(numbers) - sum(numbers[i] for i in IDLE_COLUMNS)) * tick()
    raise ValueError(f"no core {core}")


def cores() -> tuple[int, set[int]] | None:
    """The gateway's core and those for everything else; None where processes cannot be pinned."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    first, *others = sorted(os.sched_getaffinity(0))
    return (first, set(others)) if others else None


def _stat(pid: int) -> list[str] | None:
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()
