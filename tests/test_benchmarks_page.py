"""The page's benchmark without its browser: what is served and what is counted."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    # benchmarks/ belongs to no distribution.
    sys.path.append(str(ROOT))

from benchmarks import (  # noqa: E402
    page_people,
    page_probe,
    page_relay,
    page_run,
    page_upstream,
    wire,
)
from benchmarks.gateways import BenchmarkError  # noqa: E402
from benchmarks.page_people import Seen  # noqa: E402
from benchmarks.page_upstream import Wish  # noqa: E402


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with page_relay.upstream() as url:
        yield url


async def said(url: str, wish: Wish) -> tuple[float, str]:
    """When a question was put, by the monotonic clock, and the text of its answer."""
    host, _, port = url.removeprefix("http://").partition(":")
    body = wire.Script(1, 0, stream=True).request(host).partition(b"\r\n\r\n")[2]
    words = b"Write 1 tokens, one every 0 ms,"
    assert words in body
    body = body.replace(words, wish.text().encode())
    head = f"POST {wire.PATH} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        asked = time.monotonic()
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"0\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert wire.DONE in answer
    pieces = [piece.partition(b'"')[0] for piece in answer.split(b'"content":"')[1:]]
    return asked, b"".join(pieces).decode()


@pytest.mark.parametrize("think", [0.0, 0.2])
async def test_the_server_thinks_and_says_when_it_began(upstream: str, think: float) -> None:
    asked, text = await said(upstream, Wish(12, 0.002, think))
    assert page_upstream.numbers(text) == list(range(12))
    written = page_upstream.written_at(text)
    assert written is not None
    assert think <= written - asked < think + 0.15
    assert text.endswith(" 9 10 11")


async def test_a_server_that_is_left_while_it_thinks_goes_on(upstream: str) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(said(upstream, Wish(1, 0.0, 0.1)), 0.02)
    await asyncio.sleep(0.15)
    assert page_upstream.numbers((await said(upstream, Wish(2, 0.0)))[1]) == [0, 1]


def test_a_text_without_the_first_token_has_no_time() -> None:
    assert page_upstream.written_at("Write 20 tokens") is None
    assert page_upstream.written_at("0@1500000000 1 2") == 1.5


def rows(*tokens: object) -> list[dict[str, Any]]:
    def row(role: str, text: str) -> dict[str, Any]:
        return {"role": role, "content": [{"type": "text", "text": text}]}

    return [row("user", "Write 3 tokens"), row("assistant", " ".join(map(str, tokens)))]


def test_an_update_counts_when_there_is_more() -> None:
    seen = Seen()
    seen.take(rows(), 1.0)
    seen.take(rows("0@9"), 2.0)
    seen.take(rows("0@9"), 3.0)
    seen.take(rows("0@9", 1, 2), 4.0)
    assert (seen.times, seen.tokens) == ([2.0, 4.0], [0, 1, 2])


def test_a_gap_counts_where_it_reaches_into_the_time_of_all() -> None:
    steady = Seen([float(n) for n in range(10)], [0, 1])
    late = Seen([2.0, 3.0, 7.5, 9.0], [0, 1])
    assert steady.gaps(2.0, 9.0) == [1.0] * 8
    found = page_people.result([steady, late], Wish(2, 0.05))
    assert (found.begin, found.end, found.failures) == (2.0, 9.0, {})
    assert found.worst == 4.5
    assert found.gap["p50"] == (1.0 + 1.5) / 2
    hung = Seen([1.0, 20.0], [0, 1])
    assert page_people.result([steady, hung], Wish(2, 0.05)).worst == 19.0


@pytest.mark.parametrize("tokens", [[0], [0, 2], [1, 0], [0, 0, 1], []])
def test_a_wrong_answer_is_a_failure(tokens: list[int]) -> None:
    good, bad = Seen([1.0, 2.0, 3.0], [0, 1]), Seen([1.0, 2.0, 3.0], tokens)
    found = page_people.result([good, bad], Wish(2, 0.05))
    assert found.failures == {"tokens lost, doubled or out of order": 1}


def test_people_who_were_never_answered_at_once_are_a_failure() -> None:
    first, second = Seen([1.0, 2.0], [0]), Seen([3.0, 4.0], [0])
    found = page_people.result([first, second], Wish(1, 0.05))
    assert found.failures == {"they were never answered all at once": 1}
    assert page_people.result([first, Seen()], Wish(1, 0.05)).failures


def test_the_probe_reads_whole_answers(upstream: str) -> None:
    [first, second] = page_probe.measure([upstream, upstream], 0.2)
    assert 0 < first["p50"] <= first["p99"] < 1
    assert set(second) == {"p50", "p99"}


async def test_the_probe_takes_no_wrong_answer() -> None:
    replies = iter((b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\n"))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(next(replies))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for words in ("answers b'HTTP/1.1 500", "closed the connection after"):
            with pytest.raises(ConnectionError, match=words):
                await asyncio.to_thread(page_probe.measure, [url], 0.1)


def test_a_process_that_ended_can_still_be_waited_for() -> None:
    with subprocess.Popen([sys.executable, "-c", "input(); raise SystemExit(7)"],
                          stdin=subprocess.PIPE) as process:  # fmt: skip
        assert page_relay.ended(process.pid) is None
        process.communicate(b"\n")
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"]) as process:
        end = time.monotonic() + 20
        while (status := page_relay.ended(process.pid)) is None and time.monotonic() < end:
            time.sleep(0.02)
        assert status == 7
        assert process.wait() == 7


@pytest.mark.skipif(find_spec("gradio") is None, reason="HTTPX comes with Gradio")
def test_people_who_fail_say_why(upstream: str) -> None:
    """A server without a page."""
    with (
        pytest.raises(BenchmarkError, match=r"(?s)the people failed:.*404"),
        page_run.talking(upstream, 2, 3),
    ):
        raise AssertionError("they talk")


@pytest.mark.e2e
@pytest.mark.timeout(180)
@pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed")
def test_people_on_a_real_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_run, "no_browser", lambda: "not here")
    monkeypatch.setattr(page_run, "CALM", 0.1)
    [found] = page_run.run(page_run.Plan(1, 3, 1, 0.5), lambda _: None)
    assert 0 < found.api_start < found.page_start
    assert found.people["failures"] == {}
    assert found.people["people"] == 3
    # A token comes every 50 ms, and so few pages are updated as often.
    assert 0.02 < found.people["gap"]["p50"] < 0.2
    assert len(found.alone) == len(found.meanwhile) == 2
