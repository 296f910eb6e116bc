"""What a model file says of itself, from its head alone.

By the GGUF specification in llama.cpp's repository: magic, version, two counts, then keys with
typed values, little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

MAGIC = b"GGUF"
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of the types of fixed size, by their numbers."""
UINT32, INT32, STRING, ARRAY = 4, 5, 8, 9
POOLING = ".pooling_type"
NO_POOLING, LAST = 0, 3
"""Values of that key, as in llama.cpp's `enum llama_pooling_type`; others pool whole inputs."""


def pooling(path: Path) -> int | None:
    """How a model that was made for embeddings makes one vector of an input's; None for others.

    None also for a head that cannot be read: llama.cpp says what is wrong with it.
    """
    try:
        with path.open("rb") as file:
            return next((value for key, value in _numbers(file) if key.endswith(POOLING)), None)
    except (OSError, struct.error, KeyError, UnicodeDecodeError, OverflowError):
        return None


def _numbers(file: BinaryIO) -> Iterator[tuple[str, int]]:
    """The keys whose values are whole numbers of 32 bits."""
    if file.read(4) != MAGIC:
        return
    _, _, count = struct.unpack("<IQQ", file.read(20))
    for _ in range(count):
        key = file.read(_length(file)).decode()
        (kind,) = struct.unpack("<I", file.read(4))
        if kind in (UINT32, INT32):
            yield key, struct.unpack("<I" if kind == UINT32 else "<i", file.read(4))[0]
        else:
            _skip(file, kind)


def _skip(file: BinaryIO, kind: int) -> None:
    if kind == STRING:
        file.seek(_length(file), 1)
    elif kind == ARRAY:
        inner, count = struct.unpack("<IQ", file.read(12))
        if inner in SIZES:
            file.seek(SIZES[inner] * count, 1)
        else:
            for _ in range(count):
                _skip(file, inner)
    else:
        file.seek(SIZES[kind], 1)


def _length(file: BinaryIO) -> int:
    return int(struct.unpack("<Q", file.read(8))[0])
