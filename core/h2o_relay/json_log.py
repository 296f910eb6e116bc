"""The log as lines of JSON, for `--log-format json`."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import orjson


class JsonFormatter(logging.Formatter):
    """`{"time", "level", "logger", "message"}`, and `traceback` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0]:
            told["traceback"] = self.formatException(record.exc_info)
        clean = {key: text.encode("utf-8", "replace").decode() for key, text in told.items()}
        return orjson.dumps(clean).decode()
