"""A `Record` as a line of a log: for people, or as JSON. Without line breaks and control
characters, whatever a name holds.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import orjson

from h2o_relay.accounting.record import Record
from h2o_relay.commands.printable import one_line

from .vocabulary import OTHER, error_codes

LONGEST: Final = 300  # characters of a text
NAMES: Final = tuple(field.name for field in fields(Record) if field.name != "at")
CODES: Final = error_codes()


def as_json(record: Record) -> bytes:
    """One JSON object: `time` in UTC, then the fields of `Record`."""
    moment = datetime.fromtimestamp(record.at, UTC).isoformat(timespec="milliseconds")
    told: dict[str, Any] = {"time": moment.replace("+00:00", "Z")}
    for name in NAMES:
        value = getattr(record, name)
        if isinstance(value, str):
            value = _code(value) if name == "code" else _text(value)
        elif isinstance(value, float):
            value = round(value, 6)
        told[name] = value
    return orjson.dumps(told) + b"\n"


def as_text(record: Record) -> bytes:
    """`12:31:05 200 POST /v1/chat/completions llama @llama_1 1.24 s, first 0.21 s, 812+310 tokens,
    key_ab, 0190ab...`, as far as there is something to tell.
    """
    who = record.model and f" {_text(record.model)}"
    if record.deployment and record.deployment != record.model:
        who += f" @{_text(record.deployment)}"
    line = (
        f"{_clock(int(record.at))} {record.status} {_text(record.method)} {_text(record.route)}"
        f"{who} {record.seconds:.3f} s{_rest(record)}, {_text(record.key)}, {_text(record.id)}\n"
    )
    return line.encode("utf-8", "replace")


@lru_cache(maxsize=64)
def _clock(second: int) -> str:
    """A Unix time as a clock on this machine's wall has it."""
    return datetime.fromtimestamp(second).strftime("%H:%M:%S")


def _rest(record: Record) -> str:
    """What there is to tell of only some requests, a comma before each."""
    rest = "" if record.first is None else f", first {record.first:.3f} s"
    if record.queued >= 0.001:
        rest += f", queued {record.queued:.3f} s"
    if record.prompt_tokens is not None or record.completion_tokens is not None:
        about = "about " if record.estimated else ""
        rest += f", {about}{record.prompt_tokens or 0}+{record.completion_tokens or 0} tokens"
    if record.cost is not None:
        rest += f", cost {record.cost:.6g}"
    if record.attempts > 1:
        rest += f", {record.attempts} attempts"
    if record.code:
        rest += f", {_code(record.code)}"
    return rest + ", the client left" if record.aborted else rest


def _text(value: str) -> str:
    if len(value) <= LONGEST and value.isascii() and value.isprintable():
        return value
    return one_line(value, LONGEST)


def _code(value: str) -> str:
    return value if value in CODES else OTHER
