"""Where the log goes while a command runs."""

from __future__ import annotations

import logging
import sys

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def log_to_stderr(level: str, form: str = "text") -> None:
    """Log to stderr, from `level` on, as `text` or `json`; of other people's libraries warnings and
    worse only.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_wanted)
    if form == "json":
        from ..json_log import JsonFormatter

        handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], format=FORMAT, level=level.upper())


def log_if_asked(level: str | None) -> None:
    """The same for commands whose results are read by people: silent unless a level is given."""
    log_to_stderr(level or "critical")


def _wanted(record: logging.LogRecord) -> bool:
    return record.name.startswith("h2o_relay") or record.levelno >= logging.WARNING
