"""The page's process: what it is told, and when it ends."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from h2o_relay_ui.__main__ import first_line

COMMAND = [sys.executable, "-P", "-m", "h2o_relay_ui"]


@pytest.mark.skipif(sys.platform == "win32", reason="the relay's children need POSIX signals")
def test_the_process_ends_with_the_one_that_started_it() -> None:
    command = [*COMMAND, "127.0.0.1", "0", "http://127.0.0.1:9"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdin is not None
        child.stdin.write(b'{"key": "k", "settings": {}}\n')
        child.stdin.close()
        assert child.wait(30) == -15


def test_wrong_arguments_are_told() -> None:
    done = subprocess.run(
        [*COMMAND, "127.0.0.1"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m h2o_relay_ui HOST PORT API_URL")


@pytest.mark.parametrize(
    ("written", "line", "left"),
    [(b"{}\nmore", b"{}", b"more"), (b"\nmore", b"", b"more"), (b"{}", b"{}", b"")],
)
def test_what_it_is_told_is_the_first_line_and_no_more_is_read(
    written: bytes, line: bytes, left: bytes
) -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, written)
        os.close(writing)
        assert first_line(reading) == line
        assert os.read(reading, 100) == left
    finally:
        os.close(reading)
