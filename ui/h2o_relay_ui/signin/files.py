"""What sign-in keeps beside the store: the key of the sessions, and which of them were ended.

Both are the user's own (0600). Where they cannot be written, they last as long as this process.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import orjson

T = TypeVar("T")

KEY = 32  # bytes
KEPT = 10_000  # ended sessions, and names
LOOK_AGAIN = 1.0  # seconds
log = logging.getLogger(__name__)


def read_or_make(path: Path) -> bytes:
    """The key in a file, which is made if it is not there; of two that make it, one does."""
    try:
        if not path.exists():
            _make(path, secrets.token_bytes(KEY).hex().encode())
        path.chmod(0o600)
        key = bytes.fromhex(path.read_text(encoding="ascii"))
        if len(key) == KEY:
            return key
        problem = "it is not one"
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or "it is not one"
    log.warning("the sessions' key %s: %s; people sign in again after a restart", path, problem)
    return secrets.token_bytes(KEY)


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put a file in place of another, whole or not at all. Raises OSError."""
    with _written(path, data) as fresh:
        os.chmod(fresh, mode)
        os.replace(fresh, path)


def _make(path: Path, data: bytes) -> None:
    """A file that was not there; one that is there by now stays. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _written(path, data) as fresh:
        try:
            os.link(fresh, path)
        except FileExistsError:
            return
        except OSError:  # a file system without links
            os.replace(fresh, path)


@contextlib.contextmanager
def _written(path: Path, data: bytes) -> Iterator[str]:
    """A new file beside `path`, readable by its user alone; gone afterwards unless it was moved."""
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield fresh
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)


class Ended:
    """Sessions that were signed out, and names whose sessions up to some time do not count."""

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._ids: dict[str, float] = {}
        self._names: dict[str, tuple[float, float]] = {}
        self._stamp: tuple[int, int] | None = None
        self._looked = -LOOK_AGAIN

    def has(self, id: str, name: str, since: float) -> bool:
        """Whether a session of this id and name, signed in then, was ended."""
        self._look()
        before, _ = self._names.get(name, (float("-inf"), 0.0))
        return id in self._ids or since <= before

    def add(self, id: str, until: float) -> None:
        """End a session; after `until` it ends by itself."""
        self._look()
        self._ids[id] = until
        self._save()

    def add_name(self, name: str, life: float) -> None:
        """End the sessions that a name has now; they would last `life` seconds."""
        self._look()
        now = self._clock()
        self._names[name] = (now, now + life)
        self._save()

    def _look(self) -> None:
        """Read what another process has written."""
        now = time.monotonic()
        if self._path is None or now - self._looked < LOOK_AGAIN:
            return
        self._looked = now
        try:
            found = self._path.stat()
            stamp = (found.st_ino, found.st_mtime_ns)
            if stamp == self._stamp:
                return
            read = orjson.loads(self._path.read_bytes())
            ids = {str(id): float(until) for id, until in read["ids"].items()}
            names = {str(n): (float(then), float(until)) for n, (then, until) in
                     read["names"].items()}  # fmt: skip
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            log.warning("%s cannot be read: who signed out in an earlier run is forgotten",
                        self._path)  # fmt: skip
            return
        self._stamp = stamp
        self._ids |= ids
        for name, ended in names.items():
            self._names[name] = max(ended, self._names.get(name, ended))

    def _save(self) -> None:
        now = self._clock()
        self._ids = _newest({id: until for id, until in self._ids.items() if until > now})
        self._names = _newest({n: times for n, times in self._names.items() if times[1] > now})
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write(self._path, orjson.dumps({"ids": self._ids, "names": self._names}))
            found = self._path.stat()
            self._stamp = (found.st_ino, found.st_mtime_ns)
        except OSError as error:
            log.warning("%s: %s; who signs out is forgotten with this process", self._path,
                        error.strerror)  # fmt: skip


def _newest(items: dict[str, T]) -> dict[str, T]:
    """The last `KEPT` of them, in the order in which they came."""
    return dict(list(items.items())[-KEPT:])
