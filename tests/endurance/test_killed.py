"""kill -9 under load: the relay serves again at once, and what it had confirmed is there."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ..e2e.fleet_kit import Relay, needs_linux
from ..proxy.kit import chat, get, post
from .books import in_store
from .callers import Callers, Watched
from .mix import BENCH, OK, drawn
from .relays import AUTH, KEY, add, configured, listed, serving

pytestmark = [pytest.mark.e2e, needs_linux]
ROUNDS = [
    pytest.param(1, id="once", marks=pytest.mark.timeout(180)),
    pytest.param(20, id="20", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
]
STARTS = 3.0  # seconds from the start of the process to an answer
RUNS = 6.0  # seconds until it is killed
BEHIND = 4.0  # seconds that the store's usage may be behind: two, and a machine that stalls
MOMENTS = [
    pytest.param((0.5, 0.7, 0.9, 1.2), id="four"),
    pytest.param((0.3, 0.4, *(n / 20 for n in range(10, 31)), 2.0, 3.0), id="many",
                 marks=pytest.mark.slow),
]  # fmt: skip
"""Seconds after the start of a process."""
KEEPER = Path(__file__).with_name("keeping_process.py")


@dataclass
class Confirmed:
    """What was answered by 2xx, or said to be kept."""

    deployments: dict[str, str] = field(default_factory=dict)
    """Names by ids."""
    keys: dict[str, str] = field(default_factory=dict)
    conversations: list[str] = field(default_factory=list)


@pytest.mark.parametrize("rounds", ROUNDS)
async def test_nothing_confirmed_is_lost(rounds: int, tmp_path: Path) -> None:
    confirmed, ended, times = Confirmed(), set[str](), list[float]()
    async with Watched(list(BENCH.values())) as bench:
        config = configured(tmp_path, bench.url)
        for number in range(rounds):
            async with serving(tmp_path, config) as running:
                times.append(await answers(running, next(iter(confirmed.keys.values()), KEY)))
                if number:  # at first there is no store yet
                    await check(tmp_path, running, confirmed, ended)
                ended |= await killed_under_load(running, bench, tmp_path, confirmed, number)
            assert "Traceback" not in running.output
        async with serving(tmp_path, config) as running:
            times.append(await answers(running, next(iter(confirmed.keys.values()))))
            await check(tmp_path, running, confirmed, ended)
    print(f"up after {[round(t, 2) for t in times]} s; {len(confirmed.deployments)} deployments, "
          f"{len(confirmed.keys)} keys, {len(confirmed.conversations)} conversations, "
          f"{len(ended)} requests")  # fmt: skip
    assert min(times[1:]) < STARTS, times
    assert len(ended) > 20 * rounds
    assert len(confirmed.keys) >= rounds
    assert len(confirmed.deployments) >= rounds
    assert len(confirmed.conversations) >= 100 * rounds


async def answers(running: Relay, key: str) -> float:
    """Seconds from the start of its process until a chat is answered, but for those in which it
    waited for a processor.
    """
    asked = post(chat(False, model=OK), headers={"Authorization": f"Bearer {key}"})
    deadline = time.monotonic() + 30
    while (reply := await running.send(asked)).status != 200:
        assert reply.status == 503, reply.body  # its servers, or its keys, are not known yet
        assert time.monotonic() < deadline, reply.body
        await asyncio.sleep(0.02)
    return time.monotonic() - running.began - kept_waiting(running.process.pid)


def kept_waiting(pid: int) -> float:
    """Seconds that a process's main thread could have run and was not let (proc(5): schedstat)."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


async def killed_under_load(
    running: Relay, bench: Watched, folder: Path, confirmed: Confirmed, number: int
) -> set[str]:
    """The ids of requests that the store must have."""
    loop = asyncio.get_running_loop()
    callers = Callers(running.port, KEY, bench, prefix=f"round{number}")
    async with asyncio.TaskGroup() as group, keeping(folder, confirmed):
        group.create_task(until_gone(callers.ask(itertools.cycle(drawn(1000, seed=number)))))
        group.create_task(until_gone(add_models(running, bench, confirmed)))
        group.create_task(until_gone(make_keys(running, confirmed, number)))
        await asyncio.sleep(RUNS)
        running.process.kill()
        killed = loop.time()
        await running.ended(10)
    seen = callers.ledger.seen.items()
    return {id for id, one in seen if one.kind.stored and 0 < one.at < killed - BEHIND}


async def until_gone(work: Any) -> None:
    try:
        await work
    except* (OSError, EOFError):
        pass  # it was killed


@contextlib.asynccontextmanager
async def keeping(folder: Path, confirmed: Confirmed) -> AsyncIterator[None]:
    """The chat page's part, which is killed as well."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(KEEPER), f"sqlite:///{folder / 'data' / 'relay.db'}",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield
    finally:
        process.kill()
        said = (await process.stdout.read()).decode()
        await process.wait()
    confirmed.conversations += said[: said.rfind("\n") + 1].split()


async def add_models(running: Relay, bench: Watched, confirmed: Confirmed) -> None:
    while True:
        name = f"added-{len(confirmed.deployments)}"
        reply = await add(running, bench, name)
        assert reply.status == 201, reply.body
        confirmed.deployments[reply.json()["id"]] = name
        await asyncio.sleep(0.5)


async def make_keys(running: Relay, confirmed: Confirmed, number: int) -> None:
    while True:
        body = {"name": f"key-{number}-{len(confirmed.keys)}"}
        reply = await running.send(post(body, "/admin/keys", AUTH))
        assert reply.status == 201, reply.body
        confirmed.keys[reply.json()["id"]] = reply.json()["key"]
        await asyncio.sleep(0.1)


async def check(folder: Path, running: Relay, confirmed: Confirmed, ended: set[str]) -> None:
    """A relay that was started again has what was confirmed."""
    path = folder / "data" / "relay.db"
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        kept = {row[0] for row in connection.execute("SELECT id FROM conversations")}
    assert set(confirmed.conversations) <= kept
    rows = [row.id for row in in_store(path)]
    assert ended <= set(rows)
    assert len(rows) == len(set(rows))
    for key in confirmed.keys.values():
        reply = await running.send(get("/v1/models", Authorization=f"Bearer {key}"))
        assert reply.status == 200, reply.body
    await listed(running, list(confirmed.deployments.values()))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("moments", MOMENTS)
async def test_a_start_may_be_killed_at_any_moment(
    moments: Sequence[float], tmp_path: Path
) -> None:
    """Also one that makes the store."""
    data = tmp_path / "data"
    for moment in moments:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("h2o")), "serve", "--openai-port=0",
            f"--save-dir={data}", "--config=", "--load-plugins=vllm", "vllm_chat:http://127.0.0.1:9/v1",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL, cwd=tmp_path,
        )  # fmt: skip
        await asyncio.sleep(moment)
        assert process.returncode is None
        process.kill()
        await process.wait()
    async with Watched() as bench, serving(tmp_path, configured(tmp_path, bench.url)) as running:
        await answers(running, KEY)
        reply = await running.send(post({"name": "k"}, "/admin/keys", AUTH))
        assert reply.status == 201, reply.body
        with closing(sqlite3.connect(data / "relay.db", timeout=10)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert "Traceback" not in running.output
