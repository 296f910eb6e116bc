"""`h2o` that can be looked into: `python fleet_process.py FILE run ...` is `h2o run ...`. At
SIGUSR1 it collects garbage and writes what it holds then to FILE, as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from h2o_relay.cli import main
from h2o_relay.entry import Entry
from h2o_relay.links import Link

COUNTED = {"entries": Entry, "links": Link}


def held() -> dict[str, int]:
    """Counts after a full collection; `rss` is in bytes, from /proc."""
    for _ in range(3):  # what finalizers let go of is collected by the next one
        gc.collect()
    found = {"tasks": len(asyncio.all_tasks())} | dict.fromkeys(COUNTED, 0)
    for one in gc.get_objects():  # but for those that were frozen when the relay was up
        for name, kind in COUNTED.items():
            found[name] += type(one) is kind
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        **found,
        "fds": len(os.listdir("/proc/self/fd")) - 1,
        "rss": pages * os.sysconf("SC_PAGE_SIZE"),
    }


def tell(number: int, frame: FrameType | None) -> None:
    told = Path(sys.argv[1])
    fresh = told.with_suffix(".part")
    fresh.write_text(json.dumps(held()))
    fresh.rename(told)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, tell)
    sys.exit(main(sys.argv[2:]))
