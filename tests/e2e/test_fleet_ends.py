"""Under many streams at once: a relay that is told to leave, and a server that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from h2o_relay.testing.bench import Bench
from h2o_relay.testing.upstream import until

from ..proxy.faults_views import Mid
from ..proxy.kit import assert_error
from ..proxy.raw_client import Reply
from .fleet_kit import SOON, Relay, entry, get, intact, needs_linux, serving
from .standins import free_port

pytestmark = [pytest.mark.e2e, needs_linux, pytest.mark.timeout(120)]
SHORT = "ok@tokens=20~delay=50"
HANGS = "hang@after=7"
SPEAKS = "ok@tokens=200~delay=50"
DRAIN = 3.0  # seconds
STREAMS = 200
AWAY = 2.0  # seconds that a killed server is away
BACK = 3.0  # seconds after its return in which a new request is answered
STALL = 1.0  # seconds for which this machine may be busy with other things
LEFT = 2.0  # seconds in which the relay is gone once nothing holds it up; 0.5 s on a quiet machine


async def test_a_relay_leaves_with_its_last_stream(tmp_path: Path) -> None:
    """Streams shorter than the drain are whole, longer ones are told."""
    async with Bench(also=[SHORT, HANGS]) as bench:
        config = {"models": [entry("short", bench.url, SHORT), entry("long", bench.url, HANGS)]}
        async with serving(tmp_path, config, f"--drain-timeout={DRAIN}") as running:
            short = [asyncio.create_task(running.ask("short")) for _ in range(20)]
            long = [asyncio.create_task(running.ask("long")) for _ in range(20)]
            await until(lambda: bench.count(SHORT).open == 20, within=SOON)
            await until(lambda: bench.count(HANGS).open == 20, within=SOON)
            await asyncio.sleep(0.2)
            start = time.monotonic()
            running.process.send_signal(signal.SIGTERM)
            await draining(running)
            for reply in await asyncio.gather(*short):
                intact(reply, True, 20)
            assert time.monotonic() - start < DRAIN
            for reply in await asyncio.gather(*long):
                Mid(7, "gateway_shutdown").check(reply, True)
            assert time.monotonic() - start >= DRAIN
            assert await running.ended(LEFT) == 0
            print(f"gone {time.monotonic() - start:.2f} s after SIGTERM")
        assert "Traceback" not in running.output


async def draining(running: Relay) -> None:
    """It says so, and takes nothing more."""
    deadline = time.monotonic() + 1
    while (reply := await running.send(get("/readyz"))).status == 200:
        assert time.monotonic() < deadline, "it does not drain"
    assert_error(reply, 503, "draining", "overloaded_error")
    assert_error(await running.ask("short"), 503, "draining", "overloaded_error")


async def test_a_second_signal_ends_all_at_once(tmp_path: Path) -> None:
    async with Bench() as bench:
        config = {"models": [entry("long", bench.url, "hang")]}
        async with serving(tmp_path, config, "--drain-timeout=60") as running:
            long = [asyncio.create_task(running.ask("long")) for _ in range(20)]
            await until(lambda: bench.count("hang").open == 20, within=SOON)
            await asyncio.sleep(0.2)
            running.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            running.process.send_signal(signal.SIGTERM)
            start = time.monotonic()
            for reply in await asyncio.gather(*long):
                Mid(3, "gateway_shutdown").check(reply, True)
            assert await running.ended(LEFT) == 128 + signal.SIGTERM
            print(f"gone {time.monotonic() - start:.2f} s after the second signal")
        assert "Traceback" not in running.output


@contextlib.asynccontextmanager
async def bench_process(port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """The bench in a process of its own, once it listens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "h2o_relay.testing.bench", f"--port={port}", f"--also={HANGS}",
        f"--also={SPEAKS}", stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 20
        while not await listens(port):
            assert time.monotonic() < deadline, "the bench does not start"
            await asyncio.sleep(0.01)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def test_a_server_is_killed_under_its_streams(tmp_path: Path) -> None:
    """F34: what it said is told to the last token, and it is used again when it is back."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    known = {"hangs": HANGS, "speaks": SPEAKS, "quick": "ok"}
    config = {"models": [entry(name, url, model) for name, model in known.items()]}
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(bench_process(port))
        running = await stack.enter_async_context(serving(tmp_path, config))
        names = ["hangs", "speaks"] * (STREAMS // 2)
        streams = [asyncio.create_task(running.ask(name)) for name in names]
        await all_speak(running)
        server.kill()
        killed = loop.time()
        replies = await asyncio.gather(*streams)
        print(f"all streams had ended {loop.time() - killed:.2f} s after the kill")
        said = Counter(told(*one, killed) for one in zip(names, replies, strict=True))
        print(f"streams by the tokens that they had: {dict(sorted(said.items()))}")
        assert (await running.ask("speaks")).status in (502, 503)
        await asyncio.sleep(max(0.0, killed + AWAY - loop.time()))
        await stack.enter_async_context(bench_process(port))
        back = loop.time()
        intact(await running.well("quick", BACK), True)
        print(f"a new request was answered {loop.time() - back:.2f} s after the return")
        assert loop.time() - back < BACK
    assert "Traceback" not in running.output


async def all_speak(running: Relay) -> None:
    """Wait until all streams are there, and a second more."""
    deadline = time.monotonic() + SOON
    while True:
        data = (await running.send(get("/v1/models"))).json()["data"]
        if sum(one["h2o"]["running"] for one in data) == STREAMS:
            break
        assert time.monotonic() < deadline, data
        await asyncio.sleep(0.05)
    await asyncio.sleep(1)


def told(name: str, reply: Reply, killed: float) -> int:
    """How many tokens came: all in order, up to the moment at which the server was killed."""
    count = reply.body.count(b'"content":"tok')
    Mid(count, "upstream_disconnected").check(reply, True)
    if name == "hangs":
        assert count == 7
    else:
        assert count >= 2
        last = max(at for at, piece in reply.pieces if b'"content":"tok' in piece)
        assert last > killed - STALL
    return count
