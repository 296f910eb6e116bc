"""h2oGPT's file of users, read, and its passwords taken out of it.

A `.json` file is `{name: {"password": text, "userid": ..., ...}}`; any other is an SQLite database
with `Users(username, data)`, where `data` is the JSON of such an entry (h2oGPT at commit a0ad1920,
`gradio_runner.py`, `db_utils.py`). Everything here blocks.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import orjson

from h2o_relay.settings import user_path

from .files import write

SIZE_LIMIT = 256 * 2**20  # bytes; conversations are in it
MOVED = "h2o_relay"
NOTE = "the password is kept hashed in the relay's store"
Entry = dict[str, Any]


class Unreadable(Exception):
    """Why the file cannot be used, without its name."""


class StateFile(Protocol):
    path: Path

    def stamp(self) -> tuple[int, ...] | None:
        """What changes when the file does; None while it is not there."""
        ...

    def read(self) -> dict[str, Entry]:
        """The entries by name, {} where there is no file. Raises Unreadable."""
        ...

    def take_out(self, passwords: Mapping[str, str]) -> None:
        """Put a mark in place of these passwords; one that is another by now stays.

        Raises Unreadable.
        """
        ...


def state_file(name: str) -> StateFile:
    path = user_path(name)
    return JsonFile(path) if path.suffix.lower() == ".json" else Database(path)


def password_of(entry: Entry) -> str | None:
    """The password that an entry holds in plain text; None where it is in the store."""
    found = entry.get("password")
    return found if isinstance(found, str) and found else None


def is_shut(entry: Entry) -> bool:
    """Whether nobody can sign in by it: its password is neither a text nor in the store."""
    return password_of(entry) is None and entry.get("password", False) is not None


class JsonFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def stamp(self) -> tuple[int, ...] | None:
        return _stamp(self.path)

    def read(self) -> dict[str, Entry]:
        with _readable():
            try:
                if self.path.stat().st_size > SIZE_LIMIT:
                    raise Unreadable(f"it is larger than {SIZE_LIMIT >> 20} MiB")
                return _entries(orjson.loads(self.path.read_bytes() or b"{}"))
            except FileNotFoundError:
                return {}

    def take_out(self, passwords: Mapping[str, str]) -> None:
        with _readable():
            path = self.path.resolve()  # a link stays one
            users = _entries(orjson.loads(path.read_bytes()))
            for name, password in passwords.items():
                _mark(users.get(name), password)
            write(path, orjson.dumps(users, option=orjson.OPT_INDENT_2),
                  path.stat().st_mode & 0o777)  # fmt: skip


class Database:
    def __init__(self, path: Path) -> None:
        self.path = path

    def stamp(self) -> tuple[int, ...] | None:
        found = _stamp(self.path)
        log = _stamp(self.path.with_name(self.path.name + "-wal"))
        return (*found, *(log or ())) if found else None

    def read(self) -> dict[str, Entry]:
        if not self.path.exists() or not self.path.stat().st_size:
            return {}
        with _readable(), self._open("ro") as database:
            rows = database.execute("SELECT username, data FROM Users").fetchall()
            return _entries({name: orjson.loads(data) for name, data in rows})

    def take_out(self, passwords: Mapping[str, str]) -> None:
        with _readable(), self._open("rw") as database, database:
            database.execute("PRAGMA secure_delete = ON")  # what was there is written over
            database.execute("BEGIN IMMEDIATE")
            for name, password in passwords.items():
                query = "SELECT data FROM Users WHERE username = ?"
                row = database.execute(query, (name,)).fetchone()
                entry = orjson.loads(row[0]) if row else None
                if _mark(entry, password):
                    update = "UPDATE Users SET data = ? WHERE username = ?"
                    database.execute(update, (orjson.dumps(entry).decode(), name))

    @contextlib.contextmanager
    def _open(self, mode: str) -> Iterator[sqlite3.Connection]:
        uri = f"{self.path.absolute().as_uri()}?mode={mode}"
        database = sqlite3.connect(uri, uri=True, timeout=5.0, isolation_level=None)
        try:
            yield database
        finally:
            database.close()


def _entries(value: Any) -> dict[str, Entry]:
    """Raises Unreadable."""
    if not isinstance(value, dict) or not all(isinstance(v, dict) for v in value.values()):
        raise Unreadable("it is not h2oGPT's list of users")
    return value


def _mark(entry: Any, password: str) -> bool:
    """Take a password out of an entry; whether it was there. null is a password to nobody, here
    and in h2oGPT.
    """
    if not isinstance(entry, dict) or entry.get("password") != password:
        return False
    entry |= {"password": None, MOVED: NOTE}
    return True


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Every way in which a file may be unusable, as Unreadable."""
    try:
        yield
    except orjson.JSONDecodeError:
        raise Unreadable("it is not JSON") from None
    except sqlite3.Error as error:
        raise Unreadable(str(error)) from None
    except (OSError, ValueError, TypeError) as error:
        raise Unreadable(getattr(error, "strerror", None) or "it cannot be read") from None


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
