"""From a URL to an engine: reading it, showing it, opening its database, saying what failed.

SQLite runs in WAL mode, so that the API's process and the page's read while the other writes, and
a crash or a power cut leaves whole transactions. Transactions that write begin IMMEDIATE: two
processes wait for each other there instead of failing half way (sqlite.org/wal.html,
sqlite.org/lang_transaction.html).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from ..errors import StoreError
from .migrating import migrate

BUSY = 10.0  # seconds that one process waits for another's transaction
LIBPQ = frozenset({"postgresql", "postgresql+psycopg", "postgresql+psycopg2"})
GONE = {"connect_timeout": 10, "tcp_user_timeout": 10_000}
"""Seconds to connect, and milliseconds until a server that says nothing any more counts as gone
(PostgreSQL's manual, "Parameter Key Words" of libpq): else a stop would wait for minutes."""
READING = "h2o_reading"  # an execution option: the transaction does not write
EXAMPLE = "sqlite:////folder/relay.db or postgresql+psycopg://user:password@host/name"

_creating = threading.Lock()


def describe(url: str) -> str:
    """One line for a person: what is kept, and where. Passwords are masked.

    Raises StoreError for a URL that cannot be read.
    """
    return f"conversations, added models, users and votes are kept in {shown(read_url(url))}"


def read_url(url: str) -> URL:
    """Raises StoreError, which does not repeat the URL: it may hold a password."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise StoreError(f"the store's URL cannot be read; write it as {EXAMPLE}") from None


def check_url(url: str) -> None:
    """Whether a store could be at this URL, without looking for it. Raises StoreError where it
    cannot be read, names no database that is known, or needs a driver that is not installed.
    """
    _engine(read_url(url)).dispose()


def shown(url: URL) -> str:
    """A SQLite file's path, or the URL without its password and its query."""
    if url.get_backend_name() != "sqlite":
        return url.set(query={}).render_as_string(hide_password=True)
    path = sqlite_file(url)
    return str(path) if path is not None else url.database or "memory, until the relay stops"


def sqlite_file(url: URL) -> Path | None:
    """None for a database in memory, a `file:` URI, and other databases than SQLite."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return None
    return None if url.database.startswith("file:") else Path(url.database).absolute()


def identity(path: Path | None) -> tuple[int, int] | None:
    """What tells one file from another of the same name; None where there is none."""
    if path is None:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def open_engine(url: URL) -> Engine:
    """An engine on a database that is there and has our tables. Blocks; raises StoreError."""
    with readable(f"the store ({shown(url)}) cannot be opened"):
        engine = _engine(url)
        try:
            path = sqlite_file(url)
            if path is not None:
                _create(path)
            with engine.begin() as connection:
                migrate(connection, shown(url))
        except BaseException:
            engine.dispose()
            raise
        return engine


@contextmanager
def readable(doing: str) -> Iterator[None]:
    """Turn a database's failure into a StoreError of one line, which holds no stored text."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, UnicodeError, OSError) as error:
        raise StoreError(f"{doing}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """SQLAlchemy's own text goes on with the statement; the driver's first line is what counts."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__


def _engine(url: URL) -> Engine:
    options: dict[str, Any] = {"pool_size": 1, "max_overflow": 0, "pool_pre_ping": True}
    sqlite = url.get_backend_name() == "sqlite"
    if sqlite:
        options = {"connect_args": {"timeout": BUSY}}
    elif url.drivername in LIBPQ:
        given = {name: value for name, value in GONE.items() if name not in url.query}
        options["connect_args"] = given
    try:
        if url.get_dialect().is_async:
            raise StoreError(f"{url.drivername!r} is a driver for asyncio; name another one")
        engine = create_engine(url, hide_parameters=True, **options)
    except NoSuchModuleError:
        raise StoreError(f"no database of the kind {url.drivername!r} is known") from None
    except ModuleNotFoundError as error:
        raise StoreError(
            f"the store ({shown(url)}) needs the Python package {error.name!r}, "
            "which is not installed"
        ) from None
    if sqlite:
        event.listen(engine, "connect", _connected)
        event.listen(engine, "begin", _begin)
    return engine


def _create(path: Path) -> None:
    """Make the file, for its owner alone, if there is none.

    One that is there is not opened: closing it would drop the locks that a connection of this
    process has on it (sqlite.org/howtocorrupt.html, section 2.2).
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _creating:
        if not path.exists():
            with suppress(FileExistsError):  # another process was quicker
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _connected(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # `_begin` begins transactions, not the sqlite3 module
    _use_wal(connection)
    connection.execute("PRAGMA synchronous=NORMAL").close()
    connection.execute("PRAGMA foreign_keys=ON").close()


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switching is refused at once while another connection is busy, whatever the timeout."""
    end = time.monotonic() + BUSY
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
        time.sleep(0.02)


def _begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get(READING)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
