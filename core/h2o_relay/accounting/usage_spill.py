"""Usage that the store could not take, in files: JSON lines, until it can.

Each process has a file of its own, which it holds a lock on (flock) as long as it runs: the files
of processes that were killed are taken over by whoever gets their lock. All of it blocks.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Final, get_args, get_type_hints

import orjson

from .record import Record

PREFIX: Final = "usage-"
SUFFIX: Final = ".jsonl"
LIMIT: Final = 64 * 2**20  # bytes of all files of one process
LONGEST: Final = 64 * 2**10  # bytes of a line
TYPES: Final = {name: get_args(hint) or (hint,) for name, hint in get_type_hints(Record).items()}
"""What each field of a record may be."""
log = logging.getLogger(__name__)
Row = tuple[str, Record]
"""A request and the id that its row in the store has."""


class Spill:
    """The files of a folder that are this process's. Not for several threads at once."""

    def __init__(self, folder: Path, run: str, limit: int = LIMIT) -> None:
        """`run` tells processes apart, in the names of files."""
        self.folder = folder
        self._own = folder / f"{PREFIX}{run}{SUFFIX}"
        self._limit = limit
        self._files: list[_Held] = []
        """What is to be read, the oldest first; the own file is the last."""
        self.damaged = 0
        """Lines that could not be read."""
        self._told = 0

    def __bool__(self) -> bool:
        """Whether there is something to read."""
        return bool(self._files)

    @property
    def waiting(self) -> int:
        """Rows that are in the files."""
        return sum(held.lines for held in self._files)

    @property
    def shown(self) -> str:
        """Where the own file is."""
        return str(self._own)

    def append(self, rows: Sequence[Row]) -> int:
        """Write as many of these as there is room for; how many. They are in the file when this
        returns, all or none. Raises OSError.
        """
        lines = [_line(id, record) for id, record in rows]
        room = self._limit - sum(held.size for held in self._files)
        count, size = 0, 0
        while count < len(lines) and size + len(lines[count]) <= room:
            size += len(lines[count])
            count += 1
        if count:
            self._own_file().append(b"".join(lines[:count]), count)
        return count

    def adopt(self) -> bool:
        """Take over the files of processes that are gone; whether there were any.

        Raises OSError.
        """
        if not self.folder.is_dir():
            return False
        held = {one.path for one in self._files}
        found = sorted(self.folder.glob(f"{PREFIX}*{SUFFIX}"))
        taken = [one for path in found if path not in held and (one := _taken(path)) is not None]
        self._files[:0] = taken
        return bool(taken)

    def read(self, count: int) -> list[Row]:
        """The next rows that were not said to be done, from one file. Raises OSError."""
        return self._files[0].read(count, self) if self._files else []

    def done(self) -> None:
        """What was read last is stored. A file that was read to its end is removed."""
        first = self._files[0]
        first.advance()
        if first.is_at_its_end:
            first.remove()
            del self._files[0]
            if self.damaged > self._told:
                log.warning("usage: %d lines of %s could not be read, and are lost; who is killed "
                            "may leave one", self.damaged - self._told, first.path)  # fmt: skip
                self._told = self.damaged

    def close(self) -> None:
        """Let go of the files; what is in them stays for the next start."""
        for held in self._files:
            held.close()
        self._files.clear()

    def _own_file(self) -> _Held:
        last = self._files[-1] if self._files else None
        if last is not None and last.path == self._own:
            return last
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = os.open(self._own, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        held = _Held(self._own, os.fdopen(number, "r+b", buffering=0))
        _lock(held.file)
        self._files.append(held)
        return held


class _Held:
    """A file that is open and locked."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file
        self.size = os.fstat(file.fileno()).st_size
        self.lines = 0
        self._at = 0
        self._read = (0, 0)

    @property
    def is_at_its_end(self) -> bool:
        return self._at >= self.size

    def append(self, data: bytes, lines: int) -> None:
        try:
            written = 0
            while written < len(data):  # a full disk takes a part
                written += os.write(self.file.fileno(), data[written:])
        except OSError:
            os.ftruncate(self.file.fileno(), self.size)
            raise
        self.size += len(data)
        self.lines += lines

    def count(self) -> None:
        """The lines of a file that is not new."""
        while data := self.file.read(2**20):
            self.lines += data.count(b"\n")

    def read(self, count: int, spill: Spill) -> list[Row]:
        self.file.seek(self._at)
        rows: list[Row] = []
        end = self._at
        data = self.file.read(min(self.size - self._at, count * 1024 + LONGEST))
        lines = data.splitlines(keepends=True)[:count]
        for line in lines:
            whole = line.endswith(b"\n")
            if not whole and end + len(line) < self.size and len(line) <= LONGEST:
                break  # the rest of it is read with the next ones
            end += len(line)
            row = _row(line) if whole else None
            if row is None:
                spill.damaged += 1  # a process that was killed while it wrote
            else:
                rows.append(row)
        self._read = (end, data[: end - self._at].count(b"\n"))
        return rows

    def advance(self) -> None:
        self._at, lines = self._read
        self.lines -= lines

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        self.file.close()


def _taken(path: Path) -> _Held | None:
    """A file, if nobody holds it."""
    try:
        file = path.open("r+b", buffering=0)
    except FileNotFoundError:
        return None
    if not _lock(file) or not path.exists():
        file.close()
        return None
    held = _Held(path, file)
    held.count()
    return held


def _lock(file: BinaryIO) -> bool:
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: rows are told apart by their ids in any case
        return True
    return True


def _line(id: str, record: Record) -> bytes:
    data = {"row": id, **asdict(record)}
    try:
        return orjson.dumps(data) + b"\n"
    except TypeError:  # a lone surrogate, as in words of the command line that are no UTF-8
        mended = {name: _encodable(value) for name, value in data.items()}
        return orjson.dumps(mended) + b"\n"


def _encodable(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _row(line: bytes) -> Row | None:
    """None for what is no record: the store would refuse it again and again."""
    try:
        data = orjson.loads(line)
        record = Record(**{name: value for name, value in data.items() if name in TYPES})
        return (str(data["row"])[:40], record) if _is_typed(record) else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _is_typed(record: Record) -> bool:
    for name, types in TYPES.items():
        kind = type(getattr(record, name))
        if kind not in types and not (kind is int and float in types):
            return False
    return True
