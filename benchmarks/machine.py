"""What a run was made on, and with which versions."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = ("h2o-relay", "h2o-relay-vllm", "uvicorn", "uvloop", "httptools", "orjson")


def versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine() -> str:
    """Processor, cores and system, in a line."""
    return f"{os.cpu_count()} cores of {_processor()}, {_system()}, {platform.system()} {_kernel()}"


def load() -> str:
    """How many processes wanted to run in the last minute, before this run."""
    return f"{os.getloadavg()[0]:.2f}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.platform(terse=True)


def _kernel() -> str:
    """The version's first two numbers; the rest says nothing here."""
    return ".".join(platform.release().split(".")[:2])
