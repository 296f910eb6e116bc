"""Real requests, spoiled byte by byte; the same ones for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

Change = Callable[[random.Random, bytearray], None]
LARGEST = 64 * 1024  # bytes that a spoiled input may grow to
PIECES = (
    b"\r\n", b"\r", b"\n", b"\x00", b"\xff", b"\xc3\xa9", b" ", b"\t", b":", b"-1", b"0",
    b"9" * 40, b"1e999", b"NaN", b"null", b"true", b'""', b'"', b"\\", b"\\ud800", b"{", b"}",
    b"[", b"]", b",", b"[" * 70, b'{"a":' * 70, b"Content-Length: 5\r\n", b"Host: x\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n",
    b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"FFFFFFFFFFFFFFFF\r\n", b"0\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n", b"%00", b"%2e%2e", b"//", b"?", b"#", b"HTTP/1.0", b"PRI * HTTP/2.0",
)  # fmt: skip
"""What is put where it does not belong."""


def flip(dice: random.Random, data: bytearray) -> None:
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def cut(dice: random.Random, data: bytearray) -> None:
    start = dice.randrange(len(data))
    del data[start : start + 1 + dice.randrange(16)]


def insert(dice: random.Random, data: bytearray) -> None:
    at = dice.randrange(len(data) + 1)
    data[at:at] = dice.choice(PIECES)


def repeat(dice: random.Random, data: bytearray) -> None:
    start = dice.randrange(len(data))
    piece = data[start : start + 1 + dice.randrange(40)]
    data[start:start] = piece * dice.choice((1, 2, 50))


def noise(dice: random.Random, data: bytearray) -> None:
    at = dice.randrange(len(data) + 1)
    data[at:at] = dice.randbytes(1 + dice.randrange(8))


CHANGES: tuple[Change, ...] = (flip, cut, insert, repeat, noise)


def spoiled(seeds: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """So many inputs, each one of `seeds` with one to three changes. `seed` is the dice's."""
    dice = random.Random(seed)
    for _ in range(count):
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.randint(1, 3)):
            if data:
                dice.choice(CHANGES)(dice, data)
        yield bytes(data[:LARGEST])


def pieces(dice: random.Random, data: bytes) -> Iterator[bytes]:
    """The same bytes as a network may deliver them."""
    while data:
        size = dice.choice((1, 3, 20, 1000, len(data)))
        yield data[:size]
        data = data[size:]
