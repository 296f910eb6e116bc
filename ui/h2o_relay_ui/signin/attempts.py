"""How often somebody may try to sign in: after a few failures less and less often.

Tries are counted when they begin, so that many at once are many; the right password takes its own
back. Names are counted wherever the tries come from, but for an address from which the name was
signed in before: who guesses cannot lock out who knows. It is all in memory, and bounded.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

FREE_FOR_NAME, FREE_FOR_ADDRESS = 5, 20
"""Failures that cost no time; many people may share an address."""
LONGEST = 60.0  # seconds
FORGOTTEN = 900.0  # seconds after the last failure
KEPT = 10_000  # names and addresses
PREFIX = 64  # bits of an IPv6 address: whoever has one has all of them


@dataclass(slots=True)
class _Count:
    failures: int = 0
    until: float = 0.0
    last: float = 0.0


class Attempts:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: OrderedDict[Hashable, _Count] = OrderedDict()
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()

    def begin(self, name: str, address: str) -> float:
        """Seconds to wait before this may be tried; 0: it may, and counts as failed until
        `succeeded` is called."""
        now = self._clock()
        counts = [(self._count(key, now), free) for key, free in self._keys(name, address)]
        wait = max(count.until - now for count, _ in counts)
        if wait > 0:
            return wait
        for count, free in counts:
            count.failures += 1
            count.last = now
            if count.failures >= free:
                count.until = now + min(LONGEST, 2.0 ** min(count.failures - free, 10))
        return 0.0

    def succeeded(self, name: str, address: str, *, free: bool = True) -> None:
        """The try that began was right. What is not `free` still counts for its address."""
        now = self._clock()
        for key, limit in self._keys(name, address):
            count = self._count(key, now)
            if key[0] == "name":
                count.failures = 0
            elif free:
                count.failures = max(0, count.failures - 1)
            if count.failures < limit:
                count.until = 0.0
        self._seen[name, network(address)] = None
        self._seen.move_to_end((name, network(address)))
        if len(self._seen) > KEPT:
            self._seen.popitem(last=False)

    def _keys(self, name: str, address: str) -> Iterator[tuple[tuple[str, ...], int]]:
        place = network(address)
        known = (name, place) in self._seen
        yield (("name", name, place) if known else ("name", name)), FREE_FOR_NAME
        yield ("address", place), FREE_FOR_ADDRESS

    def _count(self, key: Hashable, now: float) -> _Count:
        count = self._counts.get(key)
        if count is None or now - count.last > FORGOTTEN:
            count = self._counts[key] = _Count()
        self._counts.move_to_end(key)
        if len(self._counts) > KEPT:
            self._counts.popitem(last=False)
        return count


def network(address: str) -> str:
    """An address, or the network of one that a single caller can change at will."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if found.version == 6:
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, PREFIX), strict=False))
    return str(found)
