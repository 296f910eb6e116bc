"""A `Record` as a line of a log: for people, or as JSON. Without line breaks and control
characters, whatever a name holds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import orjson

from h2o_relay.accounting.record import Record
from h2o_relay.commands.printable import one_line

from .vocabulary import OTHER, error_codes

LONGEST: Final = 300  # characters of a text
CODES: Final = error_codes()


def as_json(record: Record) -> bytes:
    """One JSON object: `time` in UTC, then the fields of `Record`."""
    moment = datetime.fromtimestamp(record.at, UTC).isoformat(timespec="milliseconds")
    first, cost, code = record.first, record.cost, record.code
    told = {
        "time": moment.replace("+00:00", "Z"), "id": _text(record.id),
        "method": _known(record.method), "route": _known(record.route), "status": record.status,
        "key": _known(record.key), "model": _known(record.model),
        "deployment": _known(record.deployment), "plugin": _known(record.plugin),
        "server": _known(record.server), "code": None if code is None else _code(code),
        "streamed": record.streamed, "aborted": record.aborted, "attempts": record.attempts,
        "prompt_tokens": record.prompt_tokens, "completion_tokens": record.completion_tokens,
        "cached_tokens": record.cached_tokens, "estimated": record.estimated,
        "seconds": round(record.seconds, 6), "queued": round(record.queued, 6),
        "first": None if first is None else round(first, 6),
        "overhead": round(record.overhead, 6), "cost": None if cost is None else round(cost, 6),
    }  # fmt: skip
    return orjson.dumps(told) + b"\n"


def as_text(record: Record) -> bytes:
    """`12:31:05 200 POST /v1/chat/completions llama @llama_1 1.24 s, first 0.21 s, 812+310 tokens,
    key_ab, 0190ab...`, as far as there is something to tell.
    """
    what = _what(record.method, record.route, record.model, record.deployment)
    line = (
        f"{_clock(int(record.at))} {record.status} {what} {record.seconds:.3f} s{_rest(record)}, "
        f"{_known(record.key)}, {_text(record.id)}\n"
    )
    return line.encode("utf-8", "replace")


@lru_cache(maxsize=1024)
def _what(method: str, route: str, model: str, deployment: str) -> str:
    """The same few for nearly all requests."""
    who = model and f" {_text(model)}"
    if deployment and deployment != model:
        who += f" @{_text(deployment)}"
    return f"{_text(method)} {_text(route)}{who}"


@lru_cache(maxsize=1024)
def _known(value: str) -> str:
    return _text(value)


@lru_cache(maxsize=64)
def _clock(second: int) -> str:
    """A Unix time as a clock on this machine's wall has it."""
    return datetime.fromtimestamp(second).strftime("%H:%M:%S")


def _rest(record: Record) -> str:
    """What there is to tell of only some requests, a comma before each."""
    first, prompt, completion = record.first, record.prompt_tokens, record.completion_tokens
    rest = "" if first is None else f", first {first:.3f} s"
    if record.queued >= 0.001:
        rest += f", queued {record.queued:.3f} s"
    if prompt is not None or completion is not None:
        about = ", about " if record.estimated else ", "
        rest += f"{about}{prompt or 0}+{completion or 0} tokens"
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
