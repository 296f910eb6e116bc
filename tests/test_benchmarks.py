"""The benchmark's own parts: what it serves, what it checks, and what it reads."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    # benchmarks/ belongs to no distribution.
    sys.path.append(str(ROOT))

from benchmarks import cpu, gateways, load, report, summary, wire  # noqa: E402
from benchmarks.__main__ import main  # noqa: E402
from benchmarks.client import Streamed, Tally  # noqa: E402
from benchmarks.reference_relay import Pool  # noqa: E402
from benchmarks.run import Turn  # noqa: E402

linux = pytest.mark.skipif(not cpu.supported(), reason="CPU time is read from /proc")
SPIN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
PARENT = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]])"


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with gateways.upstream(None) as url:
        yield url


@pytest.fixture(scope="module")
def relay(upstream: str) -> Iterator[gateways.Running]:
    with gateways.gateway(gateways.GATEWAYS["reference"], upstream, None) as running:
        yield running


async def fetch(url: str, script: wire.Script) -> tuple[bytes, bytes]:
    """Head and body of one answer, as a plain client reads them, on a connection of its own."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(script.request(host))
        head = await reader.readuntil(b"\r\n\r\n")
        if b"content-length:" in head:
            length = int(head.partition(b"content-length:")[2].split()[0])
            return head, await reader.readexactly(length)
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        return head, body
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("through", ["upstream", "relay"])
@pytest.mark.parametrize("pace", [0.0, 0.001])
async def test_a_stream_is_complete_and_in_order(
    upstream: str, relay: gateways.Running, through: str, pace: float
) -> None:
    url = upstream if through == "upstream" else relay.url
    head, body = await fetch(url, wire.Script(50, pace, stream=True, usage=True))
    assert head.startswith(b"HTTP/1.1 200")
    payloads = [event.removeprefix(b"data: ") for event in body.split(b"\n\n")[:-1]]
    assert payloads.pop() == b"[DONE]"
    events = [json.loads(payload) for payload in payloads]
    assert events.pop()["usage"]["completion_tokens"] == 50
    choices = [event["choices"][0] for event in events]
    assert choices[0]["delta"]["role"] == "assistant"
    numbers = [int(choice["delta"]["content"].partition("@")[0]) for choice in choices[1:-1]]
    assert numbers == list(range(50))
    assert choices[-1]["finish_reason"] == "stop"


@pytest.mark.parametrize("through", ["upstream", "relay"])
async def test_a_whole_answer(upstream: str, relay: gateways.Running, through: str) -> None:
    url = upstream if through == "upstream" else relay.url
    head, body = await fetch(url, wire.Script(7, 0, stream=False))
    answer = json.loads(body)
    assert head.startswith(b"HTTP/1.1 200")
    assert answer["choices"][0]["message"]["content"] == wire.ANSWER
    assert answer["usage"]["completion_tokens"] == 7
    assert 300 < len(body) < 500


async def test_the_reference_keeps_its_connections(upstream: str) -> None:
    """A reference that connects anew for each request costs twice as much and flatters us."""
    pool = Pool(upstream)
    body = wire.Script(1, 0, stream=False).request("").partition(b"\r\n\r\n")[2]
    used = []
    for _ in range(2):
        connection = await pool.request(b"POST", wire.PATH.encode(), body)
        assert wire.ANSWER.encode() in await connection.body()
        pool.release(connection)
        used.append(connection)
    assert used[0] is used[1]
    used[0].transport.close()
    await asyncio.sleep(0)
    assert pool.idle == []


async def test_events_are_as_long_as_real_ones() -> None:
    assert 200 < len(wire.token_event(42)) < 300


@pytest.mark.parametrize("name", ["p100", "ns1"])
async def test_the_load_counts_what_it_gets(relay: gateways.Running, name: str) -> None:
    scenario = load.SCENARIOS[name]
    few = load.Scenario(name, "", min(scenario.connections, 3), min(scenario.tokens, 20), 0.001)
    few = few if scenario.tokens else load.Scenario(name, "", 1)
    pid = relay.pid if cpu.supported() else None
    result = await load.measure(relay.url, few, 0.2, load.Watch(pid, None))
    assert result.failures == {}
    assert result.requests > 0
    # At both ends of the measured time some streams are half done.
    assert abs(result.tokens - result.requests * few.tokens) <= few.connections * few.tokens
    assert (result.tokens > 0) == bool(few.tokens)
    assert result.latency["p99"] >= result.latency["p50"] > 0
    assert (result.cpu is not None) == cpu.supported()


async def test_a_dead_relay_is_a_failure_not_a_result() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        scenario = load.Scenario("one", "", 1)
        result = await load.measure(
            f"http://127.0.0.1:{port}", scenario, 0.05, load.Watch(None, None)
        )
    assert result.requests == 0
    assert set(result.failures) == {"connection closed"}


def stream_of(numbers: list[int], tail: list[bytes]) -> list[bytes]:
    return [wire.role_event(), *map(wire.token_event, numbers), *tail]


LAST = wire.last_events(3, usage=False)
WRONG = {
    "lost": (stream_of([0, 2], LAST), "tokens lost, doubled or out of order"),
    "doubled": (stream_of([0, 1, 1, 2], LAST), "tokens lost, doubled or out of order"),
    "swapped": (stream_of([0, 2, 1], LAST), "tokens lost, doubled or out of order"),
    "no reason": (stream_of([0, 1, 2], LAST[1:]), "no finish reason"),
    "no end": (stream_of([0, 1, 2], LAST[:1]), "no end marker"),
    "more": (stream_of([0, 1, 2], [*LAST, wire.role_event()]), "something after the end"),
    "cut": (stream_of([0, 1, 2], [*LAST, b"data: {"]), "no end marker"),
}


@pytest.mark.parametrize("size", [1, 97, 10_000])
def test_a_right_stream_passes_however_it_is_cut(size: int) -> None:
    tally = feed(stream_of([0, 1, 2], LAST), size)
    assert (tally.requests, tally.tokens, tally.failures) == (1, 3, Counter())


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("size", [1, 97])
def test_a_wrong_stream_is_a_failure(name: str, size: int) -> None:
    events, fault = WRONG[name]
    tally = feed(events, size)
    assert tally.requests == 0
    assert tally.failures == Counter([fault])


def feed(events: list[bytes], size: int) -> Tally:
    tally, data = Tally(), b"".join(events)
    exchange = Streamed(b"", tally, 3)
    exchange.begin()
    for start in range(0, len(data), size):
        exchange.feed(data[start : start + size])
    exchange.end(200)
    return tally


@linux
@pytest.mark.parametrize("wait", [True, False], ids=["child died", "child lives"])
def test_cpu_time_of_children_counts(wait: bool) -> None:
    stay = "import time; time.sleep(60)"
    code = f"{PARENT}{'.wait()' if wait else ''}; {stay}"
    spin = SPIN if wait else SPIN + stay
    with subprocess.Popen([sys.executable, "-c", code, spin]) as process:
        try:
            spent = until_spent(process.pid, 0.3)
            members = cpu.tree(process.pid)
        finally:
            for pid in reversed(cpu.tree(process.pid)):
                subprocess.run(["kill", str(pid)], check=False)
    assert 0.3 <= spent < 1
    assert len(members) == (1 if wait else 2)


def until_spent(pid: int, least: float) -> float:
    """Waits until a process tree has used that much CPU time and rests."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        spent = cpu.seconds(pid)
        time.sleep(0.1)
        if spent >= least and cpu.seconds(pid) == spent:
            return spent
    raise AssertionError("the child did not use its CPU time")


@linux
def test_a_process_that_is_gone_cannot_be_read() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(ProcessLookupError):
        cpu.seconds(process.pid)


def turns() -> list[Turn]:
    """Two rounds: h2o needs twice the reference's time per token and three times per request."""
    made = []
    for number in (0, 1):
        for row, token, request in (("reference", 30, 50), ("h2o", 60, 150)):
            results = {
                "p100": load.Result("p100", 10, 1000, 1.0, token / 1000 * (number + 1)),
                "ns64": load.Result("ns64", 1000, 0, 1.0, request / 1000 * (number + 1)),
            }
            made.append(Turn(row, number, results=results))
    return made


def test_ratios_are_taken_within_a_round_and_guarded() -> None:
    lines = summary.lines(turns())
    ratios = {line.metric.guard: line.ratio for line in lines if line.metric.guard}
    assert ratios["token"] == summary.Spread(2, 2, 2)
    assert ratios["request"] is not None
    assert ratios["request"].median == pytest.approx(3)
    assert summary.beyond(lines, {"token": 2.1, "request": 3.1}) == []
    [complaint] = summary.beyond(lines, {"token": 2.1, "request": 2.9})
    assert "per request" in complaint


def test_the_guard_does_not_pass_what_was_not_measured() -> None:
    alone = [turn for turn in turns() if turn.gateway == "reference"]
    assert len(summary.beyond(summary.lines(alone), {"token": 9, "request": 9})) == 2
    assert len(summary.beyond([], {"token": 9, "request": 9})) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--write-docs", "--quick"], 2, "--write-docs takes a whole run"),
        (["--scenario", "p7"], 2, "no scenario 'p7'"),
    ],
)
def test_what_cannot_be_run_is_said(arguments: list[str], code: int, words: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code
    assert words in result.output


def test_the_document_keeps_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", "utf-8")
    monkeypatch.setattr(report, "DOCUMENT", document)
    about = report.About("a machine", {"Python": "3"}, 2, "today", "0.1", True, {"p100": 6.0})
    report.write(summary.lines(turns()), about)
    text = document.read_text("utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| CPU per token, p100, µs | 45.0 (30.0 to 60.0) |" in text
    report.write(summary.lines(turns()), about)
    assert document.read_text("utf-8") == text


def test_the_document_has_a_place_for_results() -> None:
    text = report.DOCUMENT.read_text("utf-8")
    assert text.index(report.BEGIN) < text.index(report.END)
