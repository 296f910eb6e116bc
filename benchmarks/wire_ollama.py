"""The scripted upstream's answers in Ollama's shape, for a relay that has to translate.

Routes and fields are those of Ollama's docs/openapi.yaml: `/api/chat` answers with JSON, one object
a line. Requests carry the same script, and tokens the same numbers and times, as in `wire`.
"""

from __future__ import annotations

import time

from .wire import ANSWER, MODEL, Shape

PATH = "/api/chat"
_LINE = (
    b'{"model":"bench","created_at":"2026-11-22T20:00:00.123456Z",'
    b'"message":{"role":"assistant","content":"%b"},"done":%b}\n'
)
_DONE = (
    b'true,"done_reason":"stop","total_duration":174560334,"load_duration":101397084,'
    b'"prompt_eval_count":31,"prompt_eval_duration":13074791,"eval_count":%d,'
    b'"eval_duration":52479709'
)
_DETAILS = b'{"format":"gguf","family":"llama","parameter_size":"3.2B"}'

DOCUMENTS = {
    b"/api/version": b'{"version":"0.12.6"}',
    b"/api/tags": b'{"models":[{"name":"%b","model":"%b","size":2019393189,"details":%b}]}'
    % (MODEL.encode(), MODEL.encode(), _DETAILS),
    b"/api/show": b'{"details":%b,"model_info":{"llama.context_length":32768},'
    b'"capabilities":["completion"]}' % _DETAILS,
    b"/api/ps": b'{"models":[]}',
}


def token_line(number: int) -> bytes:
    return _LINE % (b"%d@%d" % (number, time.monotonic_ns()), b"false")


def _last(tokens: int, usage: bool) -> list[bytes]:
    return [_LINE % (b"", _DONE % tokens)]


def _whole(tokens: int) -> bytes:
    return _LINE % (ANSWER.encode(), _DONE % tokens)


OLLAMA = Shape(b"application/x-ndjson", list, token_line, _last, _whole)
