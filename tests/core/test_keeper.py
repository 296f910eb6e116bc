"""The keeper: a program that ignores its standard input still ends with the relay."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from processes import alive, until

from h2o_relay.engines import EngineSpec, running
from h2o_relay.errors import UpstreamUnavailable
from h2o_relay.keeper import NOT_STARTED, kept

# Starts a process of its own, writes both ids, and takes SIGTERM or not.
PROGRAM = """
import os, signal, subprocess, sys, time
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
worker = subprocess.Popen([sys.executable, "-S", "-c", "import signal, time;"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"])
with open(sys.argv[1] + ".new", "w") as file:
    file.write(f"{os.getpid()} {worker.pid} {os.getpgrp()} {sys.stdin.read()!r}")
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(600)
"""


async def keeper(argv: list[str], limit: float = 10) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*kept(argv, limit), stdin=pipe, stderr=pipe)


async def program(
    tmp_path: Path, mode: str, limit: float
) -> tuple[asyncio.subprocess.Process, list[int]]:
    """A keeper with its program running, and the ids of the latter and of what it started."""
    notes = tmp_path / "notes"
    argv = [sys.executable, "-S", "-c", PROGRAM, str(notes), mode]
    process = await keeper(argv, limit)
    await until(notes.exists)
    own, worker, group, read = notes.read_text().split()
    assert int(group) == process.pid != os.getpgrp()
    assert read == "''"  # it has no standard input that it could read or hold open
    return process, [int(own), int(worker)]


async def test_the_end_of_its_input_ends_all(tmp_path: Path) -> None:
    process, pids = await program(tmp_path, "tame", limit=60)
    assert all(alive(pid) for pid in pids)
    assert process.stdin is not None
    process.stdin.close()
    await process.communicate()
    await until(lambda: not any(alive(pid) for pid in pids))


async def test_what_ignores_sigterm_is_killed_after_the_limit(tmp_path: Path) -> None:
    process, pids = await program(tmp_path, "stubborn", limit=0.3)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert process.stdin is not None
    process.stdin.close()
    await process.communicate()
    assert loop.time() - began >= 0.3
    assert process.returncode == -signal.SIGKILL
    await until(lambda: not any(alive(pid) for pid in pids))


async def test_sigterm_is_left_to_the_program(tmp_path: Path) -> None:
    process, (own, worker) = await program(tmp_path, "stubborn", limit=0.2)
    process.send_signal(signal.SIGTERM)
    os.kill(own, signal.SIGTERM)
    await asyncio.sleep(0.1)
    assert process.returncode is None
    assert alive(own)
    os.kill(own, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    _, said = await process.communicate()
    assert process.returncode == 128 + signal.SIGKILL
    assert b"was ended by signal 9" in said


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("raise SystemExit(3)", 3, b""),
        ("import os; os.kill(os.getpid(), 9)", 137, b"was ended by signal 9"),
    ],
)
async def test_the_programs_end_is_the_keepers(code: str, status: int, words: bytes) -> None:
    process = await keeper([sys.executable, "-S", "-c", code])
    _, said = await process.communicate()
    assert process.returncode == status
    assert words in said


async def test_what_is_no_program_is_said() -> None:
    process = await keeper(["/no/such/program"])
    _, said = await process.communicate()
    assert process.returncode == NOT_STARTED
    assert said == b"cannot run /no/such/program: No such file or directory\n"


async def test_a_failure_shows_the_words_that_are_chosen() -> None:
    code = "print('the cause'); print('noise ' * 3); raise SystemExit(3)"
    spec = EngineSpec(
        name="kept engine",
        argv=lambda port: kept([sys.executable, "-S", "-c", code], 1),
        words=lambda lines: [line for line in lines if "cause" in line],
    )
    with pytest.raises(UpstreamUnavailable) as caught:
        async with running(spec):
            pass
    assert str(caught.value) == (
        "kept engine stopped while starting (exit status 3); its last words: the cause"
    )
