"""What a vLLM that did not start says about it.

Its log ends in tracebacks: that of the engine's process first, then that of the API server, which
says only that the engine failed. The first exception is the cause.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

FEW = 5  # lines that are shown of a log without an exception
DETAILS = 2  # lines after an exception that belong to it
WIDEST = 300  # characters of a line
PROCESS = re.compile(r"^\(\w+(?: pid=\d+)?\)\s?")
PLACE = re.compile(r"^(?:ERROR|WARNING|INFO) \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]*\]\s?")
"""`(EngineCore pid=7) ERROR 11-22 22:13:28 [core.py:708] ` in vLLM's logging format."""
EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt)(?::|$)")
WRONG_USE = re.compile(r"^[\w.-]+(?: \w+)?: error: ")
"""What argparse says."""


def last_words(lines: Sequence[str]) -> list[str]:
    """The lines that say why, from a log's last lines: the first exception with its details and
    the last one; where there is none, the last lines.
    """
    bare = [PLACE.sub("", PROCESS.sub("", line)) for line in lines]
    found = [n for n, line in enumerate(bare) if EXCEPTION.match(line) or WRONG_USE.match(line)]
    if not found:
        return list(lines[-FEW:])
    first, last = found[0], found[-1]
    chosen = [first]
    for n in range(first + 1, min(first + 1 + DETAILS, len(bare))):
        if not bare[n].startswith(" "):
            break
        chosen.append(n)
    if bare[last] != bare[first]:
        chosen.append(last)
    return [bare[n].strip()[:WIDEST] for n in dict.fromkeys(chosen)]
