"""How many threads an engine should use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
QUOTA = "/sys/fs/cgroup/cpu.max"


def default_threads() -> int:
    """Physical cores that we may use, less one for the relay itself; at least 1.

    The engine's threads wait for each other by spinning: one thread more than there are free
    cores makes it many times slower, not a little.
    """
    return max(1, min(_cores(), _quota()) - 1)


def _cores() -> int:
    if sys.platform == "linux":
        allowed = os.sched_getaffinity(0)
        try:
            return len({Path(TOPOLOGY.format(cpu)).read_text() for cpu in allowed})
        except OSError:  # a container may hide it
            return len(allowed)
    if sys.platform == "darwin":
        # Apple's sysctl(3): the fast cores only, where there are two kinds.
        for name in ("hw.perflevel0.physicalcpu", "hw.physicalcpu"):
            done = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True)
            if done.returncode == 0 and done.stdout.strip().isdigit():
                return int(done.stdout)
    return max(1, (os.cpu_count() or 1) // 2)


def _quota() -> int:
    """CPUs that a container may use at a time: `cpu.max` of the kernel's cgroup v2 document."""
    try:
        quota, period = Path(QUOTA).read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):  # none, or "max"
        return sys.maxsize
