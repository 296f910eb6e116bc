"""The log's last lines, kept in memory for whoever looks after a relay."""

from __future__ import annotations

import logging
from collections import deque

LINES = 500
LONGEST = 2000  # characters of a line
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class LogTail(logging.Handler):
    """Install it with `logging.getLogger().addHandler`; take it off when its owner ends."""

    def __init__(self, lines: int = LINES) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(FORMAT))
        self._lines: deque[str] = deque(maxlen=lines)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)
            return
        self.add(text)

    def add(self, text: str) -> None:
        """Keep what another process has logged."""
        self._lines.extend(line[:LONGEST] for line in text.splitlines())

    def lines(self) -> tuple[str, ...]:
        """The oldest first."""
        return tuple(self._lines)
