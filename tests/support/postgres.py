"""A real PostgreSQL for tests: the one that is installed here, started on a Unix socket of its own.

    url = postgres.url(tmp_path_factory)      # the server, started once for all who ask
    with postgres.database(url) as one: ...   # a database of its own

Debian keeps the programs out of the PATH, in /usr/lib/postgresql; the server refuses to run as
root, so that tests of root run it as another user.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

ABSENT = "no PostgreSQL is installed (apt install postgresql), or its programs are not found"
NO_DRIVER = "the driver of PostgreSQL is not installed (psycopg)"
NOBODY = ("postgres", "nobody")
PATIENCE = 60  # seconds to make or to stop a server
FAST = (  # what a crash of the machine would cost matters to no test
    "fsync=off", "full_page_writes=off", "max_connections=50",
    "shared_buffers=16MB", "listen_addresses=",
)  # fmt: skip


def programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`."""
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    known = [Path(found).resolve().parent] if found else []
    return next((one for one in (*known, *folders) if (one / "pg_ctl").exists()), None)


def missing() -> str:
    """Why there is none, "" if there is."""
    if find_spec("psycopg") is None:
        return NO_DRIVER
    return "" if programs() is not None and hasattr(os, "geteuid") else ABSENT


def needed() -> None:
    """Skip where there is none; under CI that is a failure."""
    why = missing()
    if why and os.environ.get("CI") == "true":
        pytest.fail(why, pytrace=False)
    if why:
        pytest.skip(why)


class Server:
    """A server in a folder of its own; `stop` and `start` it as often as a test likes."""

    def __init__(self) -> None:
        folder = programs()
        assert folder is not None
        self._programs = folder
        self._user = next((n for n in NOBODY if _known(n)), None) if os.geteuid() == 0 else None
        # The path of a Unix socket has 107 bytes at most: pytest's folders are too long for it.
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        if self._user:
            shutil.chown(self.folder, self._user)
        self._data = self.folder / "data"
        options = ["-A", "trust", "-U", "tester", "-E", "UTF8", "--locale=C", "--no-sync"]
        self._call("initdb", "-D", str(self._data), *options)
        self.start()

    @property
    def url(self) -> str:
        """SQLAlchemy's, of the database that is always there."""
        return f"postgresql+psycopg://tester@/postgres?host={self.folder}"

    def start(self) -> None:
        options = " ".join(["-k", str(self.folder), *(f"-c {one}" for one in FAST)])
        log = str(self.folder / "log")
        self._call("pg_ctl", "-D", str(self._data), "-w", "-l", log, "-o", options, "start")

    def stop(self, how: str = "fast") -> None:
        """`fast` ends connections, `immediate` is a crash."""
        self._call("pg_ctl", "-D", str(self._data), "-w", "-m", how, "stop")

    def close(self) -> None:
        with contextlib.suppress(subprocess.SubprocessError):
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _call(self, program: str, *words: str) -> None:
        # What it starts keeps its output open: that goes to a file, or reading it would not end.
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run(
                [str(self._programs / program), *words], stdout=said, stderr=said, timeout=PATIENCE,
                stdin=subprocess.DEVNULL, cwd=self.folder, user=self._user,
            )  # fmt: skip
            said.seek(0)
            assert done.returncode == 0, said.read()


def _known(name: str) -> bool:
    try:
        return pwd.getpwnam(name).pw_uid != 0
    except KeyError:
        return False


@cache
def server() -> Server:
    """The one that tests share; it ends with the process."""
    made = Server()
    atexit.register(made.close)
    return made


@contextlib.contextmanager
def database(one: Server | None = None) -> Iterator[str]:
    """The URL of an empty database, which is gone afterwards."""
    import psycopg

    running = one or server()
    name = f"t{secrets.token_hex(6)}"
    conninfo = f"host={running.folder} user=tester dbname=postgres"
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    yield f"postgresql+psycopg://tester@/{name}?host={running.folder}"
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
