"""The log of requests: what its lines say, where they go, and what happens if they cannot."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import gc
import io
import json
import logging
import os
import stat
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from h2o_relay.accounting.record import Record
from h2o_relay.json_log import JsonFormatter
from h2o_relay.settings import SettingError
from h2o_relay_proxy.seeing import request_log
from h2o_relay_proxy.seeing.log_lines import as_json, as_text
from h2o_relay_proxy.seeing.request_log import File, RequestLog, Stream

from .records import mixed, record, refused

SOON = 10.0  # seconds: for a machine that stalls now and then
NASTY = "a\nb\r\x1b[31mred\x9b2J\u202egnp\u2028x\ud800\x00"


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not true():  # noqa: ASYNC110, a thread's doing
            await asyncio.sleep(0.01)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def in_file(path: Path) -> RequestLog:
    log = RequestLog.configured(str(path), "text", "error")
    assert log is not None
    return log


class Broken:
    """Takes nothing until it is mended, then a few bytes at a time."""

    def __init__(self) -> None:
        self.broken, self.taken, self.tried = True, b"", threading.Event()

    def write(self, data: memoryview) -> int:
        self.tried.set()
        if self.broken:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.taken += bytes(data[:7])
        return min(7, len(data))

    def close(self) -> None:
        pass


async def test_a_file_gets_a_line_for_every_request(tmp_path: Path) -> None:
    path, records = tmp_path / "requests.jsonl", mixed(20_000)
    log = in_file(path)
    for start in range(0, len(records), 5000):
        for each in records[start : start + 5000]:
            log.note(each)
        await asyncio.sleep(0.1)
    await log.close()
    assert [line["id"] for line in lines(path)] == [each.id for each in records]
    assert log.lost == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_line_of_json_has_every_field() -> None:
    told = json.loads(as_json(record()))
    assert told == {
        "time": "2026-09-21T14:13:20.250Z", "id": "0190ab", "method": "POST",
        "route": "/v1/chat/completions", "status": 200, "key": "key_ab", "model": "llama",
        "deployment": "llama_1", "plugin": "vllm", "server": "vllm_chat:http://10.0.0.5:8000/v1",
        "code": None, "streamed": True, "aborted": False, "attempts": 1, "prompt_tokens": 100,
        "completion_tokens": 21, "cached_tokens": 40, "estimated": False, "seconds": 2.3,
        "queued": 0.004, "first": 0.3, "overhead": 0.0004, "cost": 0.002,
    }  # fmt: skip


def test_a_line_of_json_has_the_fields_of_a_record_in_their_order() -> None:
    names = [field.name for field in dataclasses.fields(Record) if field.name != "at"]
    assert list(json.loads(as_json(record()))) == ["time", *names]


def test_a_line_for_people_says_what_there_is_to_say() -> None:
    line = as_text(record()).decode()
    assert line.endswith(
        " 200 POST /v1/chat/completions llama @llama_1 2.300 s, first 0.300 s, queued 0.004 s, "
        "100+21 tokens, cost 0.002, key_ab, 0190ab\n"
    )
    line = as_text(refused(aborted=True)).decode()
    assert line.endswith(
        " 404 POST /v1/chat/completions 0.001 s, model_not_found, the client left, key_ab, 0190ab\n"
    )
    assert ", about 100+21 tokens, " in as_text(record(estimated=True)).decode()


@pytest.mark.parametrize("make", [as_text, as_json])
@pytest.mark.parametrize("field", ["id", "method", "route", "model", "deployment", "key", "code"])
def test_no_name_steers_a_terminal_or_makes_a_line(
    make: Callable[[Any], bytes], field: str
) -> None:
    line = make(record(**{field: NASTY + "x" * 5000})).decode()
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert len(line) < 1500


@pytest.mark.parametrize("make", [as_text, as_json])
def test_an_upstream_cannot_put_its_words_into_the_log(make: Callable[[Any], bytes]) -> None:
    assert b"canary" not in make(record(status=400, code="sk-canary"))
    assert b"upstream_incomplete" in make(record(code="upstream_incomplete"))


@pytest.mark.parametrize(
    ("level", "form", "told"),
    [("debug", "text", 4), ("info", "text", 3), ("warning", "json", 1), ("error", "json", 0)],
)
async def test_stderr_gets_what_its_level_asks_for(
    monkeypatch: pytest.MonkeyPatch, level: str, form: str, told: int
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    log = RequestLog.configured("stderr", form, level)
    assert log is not None
    for each in (record(), refused(), refused(status=200, code=None, route="/health"),
                 record(status=502, code="upstream_disconnected")):  # fmt: skip
        log.note(each)
    await log.close()
    written = sys.stderr.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(written) == told
    assert all(line.startswith("{") == (form == "json") for line in written)


@pytest.mark.parametrize("where", ["off", "False", "no"])
def test_it_can_be_switched_off(where: str) -> None:
    assert RequestLog.configured(where, "text", "info") is None


def test_a_file_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    for where in (tmp_path, tmp_path / "not" / "there.log"):
        with pytest.raises(SettingError, match=r"^--request-log: cannot write .+: \w+"):
            RequestLog.configured(str(where), "text", "info")


@pytest.mark.parametrize("recreated", [False, True])
async def test_a_file_that_was_rotated_is_opened_anew(tmp_path: Path, recreated: bool) -> None:
    path, old = tmp_path / "requests.jsonl", tmp_path / "requests.jsonl.1"
    log = in_file(path)
    log.note(record(id="before"))
    await until(lambda: path.stat().st_size > 0)
    path.rename(old)
    if recreated:
        path.touch()
    log.note(record(id="after"))
    await log.close()
    assert [line["id"] for line in lines(old)] == ["before"]
    assert [line["id"] for line in lines(path)] == ["after"]


async def test_a_full_disk_heals_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(request_log, "AGAIN", 0.05)
    disk = Broken()
    log = RequestLog(disk, as_json)
    log.note(record(id="first"))
    await until(disk.tried.is_set)
    log.note(record(id="second"))
    await asyncio.sleep(0.2)
    disk.broken = False
    await log.close()
    assert [json.loads(line)["id"] for line in disk.taken.splitlines()] == ["first", "second"]
    assert log.lost == 0
    assert [each.getMessage() for each in caplog.records] == [
        "the request log cannot be written: No space left on device",
        "the request log is written again",
    ]


async def test_what_is_lost_is_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    disk = Broken()
    log = RequestLog(disk, as_json, most=100)
    log.note(record())
    await until(disk.tried.is_set)
    for each in mixed(250):
        log.note(each)
    await log.close()
    assert log.lost == 251
    assert "the request log lacks 251 requests" in caplog.text


async def test_a_reader_that_stopped_reading_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(request_log, "LAST", 0.2)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "w", encoding="utf-8") as pipe:
        log = RequestLog(Stream(pipe), as_json)
        began = time.monotonic()
        for each in mixed(2000):  # more than a pipe holds
            log.note(each)
        assert time.monotonic() - began < SOON / 2
        await log.close()
        assert "are lost" in caplog.text
        os.set_blocking(reading, False)  # let the thread end
        thread = next(each for each in threading.enumerate() if each.name == "request log")
        async with asyncio.timeout(SOON):
            while thread.is_alive():
                reader.read()
                await asyncio.sleep(0.01)


async def test_a_stream_that_was_closed_is_an_error_of_the_log_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = io.StringIO()
    stream.close()
    log = RequestLog(Stream(stream), as_text)
    log.note(record())
    await log.close()
    assert log.lost == 1
    assert "cannot be written" in caplog.text


async def test_a_record_that_no_line_can_be_made_of_is_lost_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = in_file(tmp_path / "log")
    odd = record()
    odd.seconds = None  # type: ignore[assignment]
    for each in (record(), odd, odd, record()):
        log.note(each)
    await log.close()
    assert len(lines(tmp_path / "log")) == 2
    assert log.lost == 2
    assert caplog.text.count("could not be written") == 1
    assert "lacks 2 requests" in caplog.text


async def test_a_note_takes_microseconds_and_memory_is_flat(tmp_path: Path) -> None:
    records = mixed(500)
    log, best = in_file(tmp_path / "log"), 1.0
    for _ in range(10):  # the thread is there, and all that is made once
        for each in records:
            log.note(each)
    await asyncio.sleep(0.3)
    for _ in range(20):
        began = time.perf_counter()
        for each in records:
            log.note(each)
        best = min(best, (time.perf_counter() - began) / len(records))
        await asyncio.sleep(0.02)
    tracemalloc.start()  # from here on each object takes a microsecond more
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(40):
            for each in records:
                log.note(each)
            await asyncio.sleep(0.02)
        await log.close()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(lines(tmp_path / "log")) == 35_000 - log.lost
    assert log.lost == 0
    assert best < 20e-6
    assert grown < 100_000, f"{grown} bytes for 20,000 requests"


def test_a_file_of_its_own_may_be_closed_at_once(tmp_path: Path) -> None:
    File(str(tmp_path / "log")).close()
    assert (tmp_path / "log").read_bytes() == b""


def test_the_log_itself_can_be_json() -> None:
    try:
        raise ValueError("why\ud800")
    except ValueError:
        about = sys.exc_info()
    made = logging.LogRecord("h2o_relay.x", logging.WARNING, "f", 1, "two\n%s", ("lines",), about)
    line = JsonFormatter().format(made)
    assert "\n" not in line
    told = json.loads(line)
    assert told["message"] == "two\nlines"
    assert (told["level"], told["logger"]) == ("warning", "h2o_relay.x")
    assert "ValueError: why?" in told["traceback"]
