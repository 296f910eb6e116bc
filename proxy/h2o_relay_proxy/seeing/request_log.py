"""`RequestLog`: a line for each request, on stderr or in a file.

    requests = RequestLog.configured(settings.request_log, settings.log_format, settings.log_level)
    requests.note(record)
    await requests.close()

Lines are written in a thread, and made before: a thread that makes hundreds of them in a row would
hold up the event loop, which waits for Python's lock meanwhile. A file that cannot be written, as
on a full disk, is tried again each second; meanwhile up to 20,000 lines wait, and what comes after
those is counted as lost. A file that was renamed or removed, as logrotate does, is opened anew: no
signal is needed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from typing import IO, Final, Protocol

from h2o_relay.accounting.record import Record
from h2o_relay.settings import SettingError, user_path

from .backlog import MOST, Backlog
from .log_lines import as_json, as_text

STDERR: Final = "stderr"
OFF: Final = frozenset({"off", "false", "no"})
"""How `--request-log` says that there is none; YAML reads `off` as false."""
AGAIN: Final = 1.0  # seconds before a file that cannot be written is tried again
LAST: Final = 5.0  # seconds that the last lines may take
QUIET: Final = frozenset({"/health", "/readyz", "/metrics", "/admin/caller", "/admin/trouble"})
"""Routes that machines ask all the time: told on stderr where they fail, or at `debug`."""
Line = Callable[[Record], bytes]
log = logging.getLogger(__name__)


class Sink(Protocol):
    def write(self, data: memoryview) -> int:
        """Write some of it and say how many bytes. Raises OSError."""
        ...

    def close(self) -> None: ...


class File:
    """A file that is appended to, readable for its owner alone if it is made here."""

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        self._path = user_path(path)
        self._file = self._open()

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        return os.open(self._path, flags, 0o600)

    def _moved(self) -> bool:
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return True
        return not os.path.samestat(there, os.fstat(self._file))

    def write(self, data: memoryview) -> int:
        if self._moved():
            old, self._file = self._file, self._open()
            os.close(old)
        return os.write(self._file, data)

    def close(self) -> None:
        os.close(self._file)


class Stream:
    """A text stream that somebody else closes."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, data: memoryview) -> int:
        try:
            self._stream.write(bytes(data).decode("utf-8", "replace"))
            self._stream.flush()
        except ValueError as error:  # it is closed
            raise OSError(str(error)) from None
        return len(data)

    def close(self) -> None:
        pass


class RequestLog:
    def __init__(
        self, sink: Sink, line: Line, level: int = logging.DEBUG, most: int = MOST
    ) -> None:
        """From `level` on: failures of the relay or a server (5xx) are warnings, what machines ask
        all the time (`QUIET`) is for debugging, everything else is information.
        """
        self._sink, self._line, self._level = sink, line, level
        self._backlog: Backlog[bytes] = Backlog("request log", self._write, most)
        self._failed = 0  # lines that could not be written
        self._broken = 0  # records that no line could be made of
        self._told = 0  # lost lines that the log has told of

    @classmethod
    def configured(cls, where: str, form: str, level: str) -> RequestLog | None:
        """What `--request-log`, `--log-format` and `--log-level` ask for. A file gets every request
        as JSON. Raises SettingError for one that cannot be written.
        """
        if where.lower() in OFF:
            return None
        if where == STDERR:
            line = as_json if form == "json" else as_text
            return cls(Stream(sys.stderr), line, getattr(logging, level.upper()))
        try:
            return cls(File(where), as_json)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SettingError(f"--request-log: cannot write {where}: {reason}") from None

    @property
    def lost(self) -> int:
        """Requests that have no line."""
        return self._backlog.lost + self._failed + self._broken

    def note(self, record: Record) -> None:
        """Takes microseconds and never raises."""
        if self._level > logging.DEBUG and _level(record) < self._level:
            return
        try:
            self._backlog.put(self._line(record))
        except Exception:
            if not self._broken:
                log.exception("a request could not be written into the request log")
            self._broken += 1

    async def close(self) -> None:
        """Write what is left; takes `LAST` seconds at most."""
        await asyncio.to_thread(self._backlog.close, LAST)
        self._tell_lost()
        self._sink.close()

    def _write(self, lines: list[bytes]) -> None:
        data = memoryview(b"".join(lines))
        failing = ending = False
        while data:
            try:
                data = data[self._sink.write(data) :]
            except OSError as error:
                if not failing:
                    log.warning("the request log cannot be written: %s", error.strerror or error)
                failing = True
                if ending:
                    self._failed += bytes(data).count(b"\n")
                    return
                ending = self._backlog.wait(AGAIN)  # then there is one more try
        if failing:
            log.warning("the request log is written again")
        self._tell_lost()

    def _tell_lost(self) -> None:
        if self.lost > self._told:
            log.warning("the request log lacks %d requests", self.lost - self._told)
            self._told = self.lost


def _level(record: Record) -> int:
    if record.status >= 500:
        return logging.WARNING
    return logging.DEBUG if record.route in QUIET and record.status < 400 else logging.INFO
