"""A store that is full, locked or gone: requests go on, the operator is told, and it heals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import postgres
import pytest

from ..e2e import fleet_kit
from ..e2e.fleet_kit import needs_linux
from . import trouble
from .callers import Watched
from .mix import BENCH
from .probing import Prober
from .relays import add, configured, listed, serving
from .stored import HEALED, TOLD, TROUBLE, Stored, ask, is_troubled, started, untroubled

pytestmark = [pytest.mark.e2e, needs_linux, pytest.mark.timeout(240)]
BEFORE = 0.7  # seconds in which all is well
LASTS = 3.5  # seconds of trouble: more than a store is waited for
STALL = 1.5  # seconds that 99 of 100 answers take at most; a store that is locked blocks for ten


async def endured(
    stored: Stored, bad: Callable[[], AbstractContextManager[None]], lasts: float = LASTS
) -> None:
    """Through trouble and out of it."""
    running = stored.relay
    async with Prober(running, stored.key, "before") as before:
        await asyncio.sleep(BEFORE)
    await settled(stored, before, set())
    async with Prober(running, stored.key, "during") as during, trouble.beside(bad()):
        await asyncio.sleep(lasts)
        wrong = await ask(running, "sk-wrong-canary-3e0d")
        assert wrong.status in (401, 503), wrong.body
        assert await is_troubled(running)
    for prober in (before, during):
        assert prober.statuses == {(200, None)}, prober.statuses
        assert prober.worst < STALL, sorted(probe.took for probe in prober.probes)[-5:]
    await running.says(TROUBLE, TOLD)
    await settled(stored, during, {probe.id for probe in before.probes})
    await running.says("usage is stored again", TOLD)
    await untroubled(running)
    async with Prober(running, stored.key, "after") as after:
        await asyncio.sleep(0.5)
    assert after.statuses == {(200, None)}
    assert "Traceback" not in running.output


async def settled(stored: Stored, prober: Prober, others: set[str]) -> None:
    """Until every one of them is in the store, once."""
    wanted = {probe.id for probe in prober.probes} | others
    deadline = time.monotonic() + HEALED
    while missing := wanted - set(found := await asyncio.to_thread(stored.usage)):
        assert time.monotonic() < deadline, (len(missing), sorted(missing)[:3], stored.relay.output)
        await asyncio.sleep(0.5)
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    "lasts", [pytest.param(LASTS, id="soon"), pytest.param(30.0, id="30s", marks=pytest.mark.slow)]
)
async def test_the_store_is_locked(tmp_path: Path, lasts: float) -> None:
    async with Watched(list(BENCH.values())) as bench, started(tmp_path, bench.url) as stored:
        async with trouble.locked(tmp_path / "data" / "relay.db"):
            async with Prober(stored.relay, stored.key, "locked") as locked:
                await asyncio.sleep(lasts)
            await stored.relay.says(TROUBLE, TOLD)
            assert await is_troubled(stored.relay)
        assert locked.statuses == {(200, None)}
        assert locked.worst < STALL
        await settled(stored, locked, set())
        await stored.relay.says("usage is stored again", TOLD)
        assert "Traceback" not in stored.relay.output


async def test_no_file_takes_a_byte_more(tmp_path: Path) -> None:
    async with Watched(list(BENCH.values())) as bench, started(tmp_path, bench.url) as stored:
        await endured(stored, lambda: trouble.no_bytes_more(stored.relay.process.pid))


async def test_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not trouble.has_namespaces():
        pytest.skip("no process may mount a file system for itself here (user namespaces)")
    monkeypatch.setattr(fleet_kit, "PROGRAM", Path(__file__).with_name("full_disk_process.py"))
    async with Watched(list(BENCH.values())) as bench, started(tmp_path, bench.url) as stored:
        inside = Path(f"/proc/{stored.relay.process.pid}/root{tmp_path}/data")
        stored.hidden = tmp_path / "data" / "relay.db"
        await endured(stored, lambda: trouble.filled(inside))


async def test_the_folder_is_gone_and_comes_back(tmp_path: Path) -> None:
    trouble.movable(tmp_path / "data")
    async with Watched(list(BENCH.values())) as bench, started(tmp_path, bench.url) as stored:
        await endured(stored, lambda: trouble.replaced(tmp_path / "data"))


async def test_the_file_is_deleted(tmp_path: Path) -> None:
    """Whoever has a key goes on, though a new store is empty; what is stored from then on stays."""
    async with Watched(list(BENCH.values())) as bench:
        async with started(tmp_path, bench.url) as stored:
            async with Prober(stored.relay, stored.key, "before"):
                await asyncio.sleep(BEFORE)
            trouble.deleted(tmp_path / "data" / "relay.db")
            async with Prober(stored.relay, stored.key, "after") as after:
                await asyncio.sleep(LASTS)
            assert after.statuses == {(200, None)}
            assert after.worst < STALL
            await stored.relay.says("another file now|empty store", TOLD)
            await settled(stored, after, set())
            added = await add(stored.relay, bench, "late")
            assert added.status == 201, added.body
            assert "Traceback" not in stored.relay.output
        async with serving(tmp_path, configured(tmp_path, bench.url)) as running:
            await listed(running, ["late"])


async def test_postgresql_is_stopped(tmp_path: Path, own_postgres: postgres.Server) -> None:
    async with (
        Watched(list(BENCH.values())) as bench,
        started(tmp_path, bench.url, own_postgres.url) as stored,
    ):
        await endured(stored, lambda: trouble.stopped(own_postgres))
