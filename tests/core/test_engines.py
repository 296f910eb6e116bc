"""Supervised engines, against a real child process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import alive, until

from h2o_relay import engines
from h2o_relay.engines import EngineSpec, running
from h2o_relay.errors import UpstreamUnavailable

# Modes: "ok", "never" (not healthy), "die" (at once), "stubborn" (ignores SIGTERM and EOF).
CHILD = """
import http.server, os, signal, sys, threading, time

mode, port, pids = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with open(pids, "a") as file:
    file.write(f"{os.getpid()}\\n")
print("hello from the child")
print("said:", sys.stdin.readline().strip(), os.environ.get("CHILD_WORD"), flush=True)
if mode == "die":
    print("no model here", file=sys.stderr)
    sys.exit(3)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if mode != "never" and self.path == "/health" else 503)
        self.end_headers()
    def log_message(self, *args):
        pass

def leave():
    sys.stdin.read()
    os._exit(0)

if mode != "stubborn":
    threading.Thread(target=leave, daemon=True).start()
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""

Make = Callable[..., EngineSpec]


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    return tmp_path / "pids"


@pytest.fixture
def make(tmp_path: Path, pids: Path) -> Make:
    script = tmp_path / "child.py"
    script.write_text(CHILD)

    def spec(mode: str = "ok", **more: Any) -> EngineSpec:
        def argv(port: int) -> list[str]:
            return [sys.executable, "-S", str(script), mode, str(port), str(pids)]

        values = {"stdin": b"a secret\n", "start_limit": 20.0, "backoff": 0.05}
        return EngineSpec(name="test engine", argv=argv, **(values | more))

    return spec


def started(pids: Path) -> list[int]:
    return [int(line) for line in pids.read_text().split()] if pids.exists() else []


async def test_a_healthy_engine_answers_and_stops_with_the_block(make: Make, pids: Path) -> None:
    async with running(make(env={"CHILD_WORD": "word"})) as engine:
        assert engine.state == "healthy"
        assert engine.url == f"http://127.0.0.1:{engine.port}"
        assert started(pids) == [engine.pid]
        assert os.getsid(engine.pid or 0) == engine.pid
        assert await engines._answers(engine.port, "/health")
        assert not await engines._answers(engine.port, "/other")
        await until(lambda: len(engine.log_tail()) == 2)
        assert engine.log_tail() == ["hello from the child", "said: a secret word"]
    assert engine.state == "stopped"
    assert engine.pid is None
    assert not alive(started(pids)[0])


async def test_a_dead_engine_is_restarted_on_its_port(make: Make, pids: Path) -> None:
    async with running(make()) as engine:
        port, first = engine.port, engine.pid
        assert first is not None
        for count in (1, 2):
            os.kill(engine.pid or 0, signal.SIGKILL)
            await until(lambda n=count: engine.restarts == n and engine.state == "healthy")
        assert engine.port == port
        assert len(set(started(pids))) == 3
        assert await engines._answers(port, "/health")
    assert not any(alive(pid) for pid in started(pids))


async def test_restarts_back_off_and_recover(make: Make, tmp_path: Path, pids: Path) -> None:
    async with running(make()) as engine:
        script = tmp_path / "child.py"
        script.write_text("raise SystemExit('broken')")
        began = time.monotonic()
        os.kill(engine.pid or 0, signal.SIGKILL)
        await until(lambda: engine.restarts == 4)
        assert time.monotonic() - began >= 0.05 + 0.1 + 0.2 + 0.4
        await until(lambda: engine.state == "failed")
        assert "broken" in engine.log_tail()
        script.write_text(CHILD)
        await until(lambda: engine.state == "healthy")
        assert engine.pid == started(pids)[-1]


async def test_a_child_that_exits_is_reported_with_its_last_words(make: Make) -> None:
    with pytest.raises(UpstreamUnavailable) as caught:
        async with running(make("die")):
            pass
    assert "test engine stopped while starting (exit status 3)" in str(caught.value)
    assert "no model here" in str(caught.value)


async def test_a_child_that_never_gets_healthy_is_stopped(make: Make, pids: Path) -> None:
    with pytest.raises(UpstreamUnavailable, match=r"did not answer /health within 0\.5 s"):
        async with running(make("never", start_limit=0.5)):
            pass
    assert len(started(pids)) == 1
    assert not alive(started(pids)[0])


async def test_a_program_that_is_missing_is_reported() -> None:
    spec = EngineSpec(name="nothing", argv=lambda port: ["/nowhere/at/all"])
    with pytest.raises(UpstreamUnavailable, match="nothing could not be started"):
        async with running(spec):
            pass


async def test_a_taken_port_is_left_for_another(
    make: Make, pids: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        taken = squatter.getsockname()[1]
        free = [engines._free_port(), taken]
        monkeypatch.setattr(engines, "_free_port", lambda: free.pop())
        async with running(make()) as engine:
            assert engine.port != taken
            assert len(started(pids)) == 2


async def test_a_port_that_was_asked_for_never_moves(make: Make, pids: Path) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        taken = squatter.getsockname()[1]
        with pytest.raises(UpstreamUnavailable, match="in use"):
            async with running(make(port=taken)):
                pass
    assert len(started(pids)) == 1
    async with running(make(port=taken)) as engine:
        assert engine.port == taken
        assert await engines._answers(taken, "/health")


async def test_a_child_is_looked_for_at_its_host(make: Make) -> None:
    async with running(make(host="localhost")) as engine:
        assert engine.url == f"http://localhost:{engine.port}"
    spec = make(host="::1", port=20000, start_limit=0.2)
    assert engines.Engine(spec).url == "http://[::1]:20000"
    with pytest.raises(UpstreamUnavailable, match="did not answer"):
        async with running(make(host="::1", start_limit=0.5)):
            pass


async def test_cancelling_a_start_leaves_no_process(make: Make, pids: Path) -> None:
    async def start() -> None:
        async with running(make("never")):
            pass

    task = asyncio.create_task(start())
    await until(lambda: bool(started(pids)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not any(alive(pid) for pid in started(pids))


async def test_cancelling_the_block_stops_a_stubborn_child(make: Make, pids: Path) -> None:
    entered = asyncio.Event()

    async def run() -> None:
        async with running(make("stubborn", stop_limit=0.2)):
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(run())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(started(pids)[0])


async def test_a_second_cancellation_kills_at_once(make: Make, pids: Path) -> None:
    entered = asyncio.Event()

    async def run() -> None:
        async with running(make("stubborn", stop_limit=30.0)):
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(run())
    await entered.wait()
    task.cancel()
    await asyncio.sleep(0.05)
    assert alive(started(pids)[0])
    task.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not alive(started(pids)[0])


async def test_leaving_while_the_engine_is_restarting(make: Make, pids: Path) -> None:
    async with running(make(backoff=30.0)) as engine:
        os.kill(engine.pid or 0, signal.SIGKILL)
        await until(lambda: engine.state == "restarting")
    assert len(started(pids)) == 1


async def test_the_log_tail_is_bounded() -> None:
    code = "import sys; sys.stdout.write('x' * 99999 + chr(10)); [print(i) for i in range(300)]"
    spec = EngineSpec(name="loud", argv=lambda port: [sys.executable, "-c", code])
    engine = engines.Engine(spec)
    with pytest.raises(UpstreamUnavailable):
        await engine._start()
    await engine._stop()
    assert engine.log_tail() == [str(i) for i in range(100, 300)]


async def test_long_log_lines_are_cut() -> None:
    code = "import sys; sys.stdout.write('x' * 99999 + chr(10)); print('end', end='')"
    spec = EngineSpec(name="loud", argv=lambda port: [sys.executable, "-c", code])
    engine = engines.Engine(spec)
    with pytest.raises(UpstreamUnavailable):
        await engine._start()
    await engine._stop()
    assert engine.log_tail() == ["x" * 500, "end"]


PARENT = """
import asyncio, sys
from h2o_relay.engines import EngineSpec, running

async def main():
    spec = EngineSpec(name="e", argv=lambda port: [sys.executable, *sys.argv[1:3], str(port),
        sys.argv[3]], stdin=b"word\\n")
    async with running(spec) as engine:
        print(engine.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_the_child_ends_when_its_parent_is_killed(
    make: Make, tmp_path: Path, pids: Path
) -> None:
    make()
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    argv = [sys.executable, str(script), str(tmp_path / "child.py"), "ok", str(pids)]
    parent = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    assert alive(child)
    parent.kill()
    await parent.wait()
    await until(lambda: not alive(child))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the child must read its stdin")
async def test_a_child_that_cannot_run_python_ends_with_its_parent() -> None:
    # PyDLL keeps the interpreter's lock while it sleeps, as loading a model does.
    code = """
        import ctypes, sys
        from h2o_relay.engines import exit_with_parent
        sys.stdin.buffer.readline()
        exit_with_parent()
        print("armed", flush=True)
        ctypes.PyDLL(None).sleep(60)
    """
    argv = [sys.executable, "-c", textwrap.dedent(code)]
    pipe = subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b"key\n")
    assert await child.stdout.readline() == b"armed\n"
    await asyncio.sleep(0.1)
    assert child.returncode is None
    child.stdin.close()
    async with asyncio.timeout(5):
        assert await child.wait() == -signal.SIGTERM
