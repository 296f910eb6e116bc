"""Rendezvous hashing: every member has a score for a key, and the highest is the key's home. If a
member goes its own keys alone move, each to the next in its order.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

BITS = 0xFFFF_FFFF_FFFF_FFFF


def digest(data: bytes) -> int:
    """64 bits, the same in every process."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


@lru_cache(maxsize=4096)
def name_digest(name: str) -> int:
    return digest(name.encode("utf-8", "surrogatepass"))


def score(key: int, name: str) -> int:
    """How much a key belongs to the member of that name: the finaliser of splitmix64 over both."""
    mixed = (key ^ name_digest(name)) & BITS
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & BITS
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & BITS
    return mixed ^ (mixed >> 31)
