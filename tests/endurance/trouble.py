"""What can become of a store, each for the length of a block."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import postgres

LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)
if sys.argv[2] == "whole":
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
connection.execute("BEGIN EXCLUSIVE")
connection.execute("UPDATE key_state SET id = id")
print("locked", flush=True)
sys.stdin.read()
"""


@contextlib.asynccontextmanager
async def locked(path: Path, *, whole: bool = False) -> AsyncIterator[None]:
    """Another process holds the lock of whoever writes; with `whole` nobody reads, either, which is
    only to be had while nobody has it open.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LOCK, str(path), "whole" if whole else "write",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert await process.stdout.readline() == b"locked\n"
        yield
    finally:
        process.stdin.close()
        await process.wait()


@contextlib.contextmanager
def no_bytes_more(pid: int) -> Iterator[None]:
    """No file takes another byte from a process (setrlimit(2), RLIMIT_FSIZE: EFBIG)."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


def has_namespaces() -> bool:
    """Whether a process may mount a file system for itself."""
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"], capture_output=True
    )
    return tried.returncode == 0


def seen_by(pid: int, path: Path) -> list[str]:
    """The ids of the requests in a store that only that process sees."""
    words = ["nsenter", "-U", "-m", "--preserve-credentials", "-t", str(pid)]
    program = "import sqlite3, sys; print(*[row[0] for row in sqlite3.connect(sys.argv[1], "
    program += "timeout=10).execute('SELECT request FROM usage')], sep='\\n')"
    told = subprocess.run(
        [*words, sys.executable, "-c", program, str(path)], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return told.stdout.split()


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[None]:
    """A file system is full to its last byte (ENOSPC)."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (2**16, 2**12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size):
                    pass
    try:
        yield
    finally:
        filler.unlink()


def movable(folder: Path) -> None:
    """Make a folder that can be taken away at one blow: a link to one."""
    real = folder.with_name(f"{folder.name}-real")
    real.mkdir(mode=0o700)
    folder.symlink_to(real)


@contextlib.contextmanager
def replaced(folder: Path) -> Iterator[None]:
    """A folder that was made by `movable` is gone, as when its disk is, and nothing can be made in
    its place, whoever runs the test. It comes back as it was.
    """
    real = folder.readlink()
    _point(folder, folder.with_name("nowhere"))
    try:
        yield
    finally:
        _point(folder, real)


def _point(link: Path, target: Path) -> None:
    """At once: between two steps somebody would make the folder anew."""
    fresh = link.with_name("fresh")
    fresh.symlink_to(target)
    fresh.replace(link)


def deleted(path: Path) -> None:
    """The three files of a store."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextlib.contextmanager
def stopped(server: postgres.Server) -> Iterator[None]:
    """PostgreSQL has crashed, and is started again."""
    server.stop("immediate")
    try:
        yield
    finally:
        server.start()


@contextlib.asynccontextmanager
async def beside(block: contextlib.AbstractContextManager[None]) -> AsyncIterator[None]:
    """The same with its beginning and its end in a thread: they take a while."""
    await asyncio.to_thread(block.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(block.__exit__, None, None, None)
