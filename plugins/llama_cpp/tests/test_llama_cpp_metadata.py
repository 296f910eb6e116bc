"""The head of a model file, built by hand from the GGUF specification."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from h2o_relay_llama_cpp.metadata import pooling


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


EVERY_KIND = [
    entry("general.architecture", 8, text("bert")),
    *(entry(f"a.{n}", n, b"\1" * s) for n, s in enumerate((1, 1, 2, 2, 4, 4, 4, 1))),
    *(entry(f"a.{n}", n, b"\1" * 8) for n in (10, 11, 12)),
    entry("a.floats", 9, struct.pack("<IQ", 6, 3) + b"\1" * 12),
    entry("a.texts", 9, struct.pack("<IQ", 8, 2) + text("ä") + text("")),
    entry("a.lists", 9, struct.pack("<IQ", 9, 1) + struct.pack("<IQ", 0, 2) + b"\1\1"),
]


def written(path: Path, entries: list[bytes], count: int | None = None) -> Path:
    head = struct.pack("<IQQ", 3, 0, len(entries) if count is None else count)
    path.write_bytes(b"GGUF" + head + b"".join(entries))
    return path


@pytest.mark.parametrize("value", [0, 1, 2, 3, 4])
def test_the_models_own_pooling(tmp_path: Path, value: int) -> None:
    own = entry("bert.pooling_type", 4, struct.pack("<I", value))
    assert pooling(written(tmp_path / "m.gguf", [*EVERY_KIND, own, EVERY_KIND[0]])) == value


def test_models_without(tmp_path: Path) -> None:
    assert pooling(written(tmp_path / "m.gguf", EVERY_KIND)) is None


def test_heads_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    assert pooling(path) is None
    for entries, count in (
        (EVERY_KIND, 99), ([entry("a", 77, b"")], None), ([text("a" * 9)[:12]], None),
        ([struct.pack("<Q", 2**63)], 1),
    ):  # fmt: skip
        assert pooling(written(path, entries, count)) is None
    path.write_bytes(b"GGML" + b"\0" * 40)
    assert pooling(path) is None
    path.write_bytes(b"GGUF")
    assert pooling(path) is None
