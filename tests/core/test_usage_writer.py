"""`UsageWriter`: batches, a store that fails, hangs or is killed, and what is lost when."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from postgres import Server, needed

from h2o_relay.accounting import usage_writer as module
from h2o_relay.accounting.usage_query import UsageQuery
from h2o_relay.accounting.usage_spill import Row, Spill
from h2o_relay.accounting.usage_writer import UsageWriter
from h2o_relay.errors import StoreError
from h2o_relay.store import LastingStore, Store, UsageStore
from h2o_relay.store import engine as engine_module

from .usage_kit import record

PATIENCE = 30.0  # seconds, for a machine that stalls


class FakeKeeper:
    """A store in memory that fails and hangs as it is told to."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}
        self.batches: list[int] = []
        self.failing: Exception | None = None
        self.free = asyncio.Event()
        self.free.set()

    async def add(self, rows: Sequence[Row], *, again: bool = False) -> None:
        await self.free.wait()
        if self.failing is not None:
            raise self.failing
        double = [id for id, _ in rows if id in self.rows]
        assert again or not double, "a database would refuse these"
        self.rows.update((id, one.id) for id, one in rows)
        self.batches.append(len(rows))

    @property
    def ids(self) -> list[str]:
        return sorted(self.rows.values())


@pytest.fixture
def keeper() -> FakeKeeper:
    return FakeKeeper()


def names(*numbers: int) -> list[str]:
    return sorted(f"{n}" for n in range(*numbers))


def note(writer: UsageWriter, *numbers: int) -> None:
    for number in range(*numbers):
        writer.note(record(f"{number}"))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def hasty(keeper: FakeKeeper, folder: Path | None, **rest: int) -> UsageWriter:
    return UsageWriter(keeper, folder, every=0.02, slow=0.2, **rest)


def spills(folder: Path) -> list[Path]:
    return sorted(folder.glob("usage-*.jsonl"))


async def test_requests_are_stored_within_moments(keeper: FakeKeeper, tmp_path: Path) -> None:
    async with hasty(keeper, tmp_path) as writer:
        note(writer, 3)
        assert writer.waiting == 3
        await until(lambda: writer.stored == 3)
        assert (writer.waiting, writer.stored, writer.trouble) == (0, 3, "")
    assert spills(tmp_path) == []


async def test_a_full_batch_does_not_wait_for_its_second(keeper: FakeKeeper) -> None:
    async with UsageWriter(keeper, None, every=3600) as writer:
        note(writer, module.BATCH)
        await until(lambda: len(keeper.rows) == module.BATCH)
        note(writer, 1200)
        await writer.flush()
        assert keeper.batches == [500, 500, 500, 200]


async def test_a_clean_stop_loses_nothing(keeper: FakeKeeper, tmp_path: Path) -> None:
    async with UsageWriter(keeper, tmp_path, every=3600) as writer:
        note(writer, 1300)
    assert keeper.ids == names(1300)
    assert writer.dropped == 0


async def test_taking_a_request_costs_next_to_nothing(keeper: FakeKeeper) -> None:
    async with UsageWriter(keeper, None, capacity=10**6, every=3600) as writer:
        one = record()
        start = time.perf_counter()
        for _ in range(20_000):
            writer.note(one)
        each = (time.perf_counter() - start) / 20_000
        assert each < 50e-6


async def test_what_the_store_refuses_comes_back_later(
    keeper: FakeKeeper, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    keeper.failing = StoreError("the store (x) failed: database or disk is full")
    async with hasty(keeper, tmp_path) as writer:
        note(writer, 700)
        await until(lambda: bool(spills(tmp_path)) and not writer._queue)
        assert "disk is full" in writer.trouble
        await until(lambda: "700 requests wait" in writer.trouble)
        note(writer, 700, 900)
        keeper.failing = None
        await until(lambda: len(keeper.rows) == 900)
        await until(lambda: writer.stored == 900 and not spills(tmp_path))
        assert writer.trouble == ""
    assert keeper.ids == names(900)
    assert (writer.stored, writer.dropped, writer.waiting) == (900, 0, 0)
    said = [entry.getMessage() for entry in caplog.records]
    assert sum("usage is not stored since" in line for line in said) == 1, "once a minute"
    assert sum("usage is stored again" in line for line in said) == 1


async def test_a_store_that_hangs_costs_nothing_and_counts_once(
    keeper: FakeKeeper, tmp_path: Path
) -> None:
    async with hasty(keeper, tmp_path) as writer:
        keeper.free.clear()
        note(writer, 10)
        await until(lambda: "does not answer" in writer.trouble)
        note(writer, 10, 20)
        await until(lambda: spilled_lines(tmp_path) == 20)  # also what may be stored all the same
        keeper.free.set()
        await until(lambda: not spills(tmp_path) and writer.trouble == "")
        note(writer, 20, 30)
    assert keeper.ids == names(30)
    assert (writer.stored, writer.dropped) == (30, 0)


def spilled_lines(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in spills(folder))


async def test_a_stop_while_the_store_is_gone_leaves_a_file_for_the_next_start(
    keeper: FakeKeeper, tmp_path: Path
) -> None:
    keeper.failing = StoreError("gone")
    async with hasty(keeper, tmp_path) as writer:
        note(writer, 10)
    assert writer.dropped == 0
    assert spilled_lines(tmp_path) == 10
    keeper.failing = None
    async with hasty(keeper, tmp_path) as writer:
        note(writer, 10, 20)
        await until(lambda: writer.stored == 20 and not spills(tmp_path))
    assert keeper.ids == names(20)
    assert spills(tmp_path) == []


async def test_a_stop_while_the_store_hangs_does_not_hang(
    keeper: FakeKeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSING", 0.1)
    keeper.free.clear()
    async with asyncio.timeout(PATIENCE):
        async with hasty(keeper, tmp_path) as writer:
            note(writer, 5000)
    assert writer.dropped == 0
    assert spilled_lines(tmp_path) == 5000


async def test_without_a_file_the_memory_is_bounded_and_what_is_lost_is_counted(
    keeper: FakeKeeper,
) -> None:
    keeper.failing = StoreError("gone")
    async with hasty(keeper, None, capacity=100) as writer:
        note(writer, 150)
        assert writer.dropped == 50
        await until(lambda: bool(writer.trouble))
        await until(lambda: writer.waiting == 100)
        assert "the usage of 50 requests is lost" in writer.trouble
        keeper.failing = None
        await until(lambda: writer.stored == 100)
        assert writer.trouble == "the usage of 50 requests is lost"
    assert keeper.ids == names(100)


async def test_a_full_file_is_bounded_too(keeper: FakeKeeper, tmp_path: Path) -> None:
    keeper.failing = StoreError("gone")
    async with hasty(keeper, tmp_path) as writer:
        assert writer._spill is not None
        writer._spill._limit = 4000
        note(writer, 100)
        await until(lambda: writer.dropped > 0)
        kept = 100 - writer.dropped
        assert 5 < kept < 15
        assert spills(tmp_path)[0].stat().st_size <= 4000
        keeper.failing = None
        await until(lambda: len(keeper.rows) == kept)


async def test_where_neither_store_nor_disk_has_room_the_memory_keeps_it(
    keeper: FakeKeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Spill, rows: Sequence[Row]) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spill, "append", full)
    keeper.failing = StoreError("disk is full")
    async with hasty(keeper, tmp_path) as writer:
        note(writer, 1100)
        await until(lambda: "1100 requests wait" in writer.trouble)
        keeper.failing = None
        await until(lambda: len(keeper.rows) == 1100)
    assert keeper.ids == names(1100)
    assert writer.dropped == 0


async def test_a_mistake_of_ours_does_not_end_it(
    keeper: FakeKeeper, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keeper.failing = ZeroDivisionError("no")
    async with hasty(keeper, tmp_path) as writer:
        note(writer, 5)
        await until(lambda: "ZeroDivisionError" in writer.trouble)
        keeper.failing = None
        await until(lambda: len(keeper.rows) == 5)
    assert caplog.text.count("usage could not be stored") == 1


async def test_a_batch_that_is_cancelled_is_stored_later(
    keeper: FakeKeeper, tmp_path: Path
) -> None:
    """By whoever ends a loop's tasks: what it carried is not lost, and the rest goes on."""
    keeper.free.clear()
    async with UsageWriter(keeper, tmp_path, every=0.02, slow=30) as writer:
        note(writer, 5)

        def batch() -> list[asyncio.Task[None]]:
            return [task for task in asyncio.all_tasks() if task.get_name() == "usage batch"]

        await until(lambda: bool(batch()))
        batch()[0].cancel()
        keeper.free.set()
        await until(lambda: len(keeper.rows) == 5)
        await writer.flush()
    assert writer.dropped == 0


async def test_what_a_file_cannot_take_stays_in_memory(
    keeper: FakeKeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise ZeroDivisionError

    keeper.failing = StoreError("gone")
    async with hasty(keeper, tmp_path) as writer:
        with monkeypatch.context() as patched:
            patched.setattr(Spill, "append", fail)
            note(writer, 5)
            await until(lambda: "gone" in writer.trouble)
            await writer.flush()
            assert writer.waiting == 5
        keeper.failing = None
        await until(lambda: len(keeper.rows) == 5)


# The file.


def test_files_of_the_living_are_left_alone_and_those_of_the_dead_are_taken(
    tmp_path: Path,
) -> None:
    one, two = Spill(tmp_path, "one"), Spill(tmp_path, "two")
    assert one.append([("a", record("1"))]) == 1
    assert not two.adopt(), "its process runs"
    one.close()
    assert two.adopt()
    assert not two.adopt()
    assert [(id, row.id) for id, row in two.read(10)] == [("a", "1")]
    assert two.waiting == 1
    two.done()
    assert (two.waiting, bool(two), spills(tmp_path)) == (0, False, [])


def test_what_was_read_is_read_again_until_it_is_done(tmp_path: Path) -> None:
    spill = Spill(tmp_path, "one")
    rows = [(f"{n}", record(f"{n}", server="s" * 3000)) for n in range(700)]
    spill.append(rows)
    assert spill.read(300) == spill.read(300)
    found: list[Row] = []
    while spill:
        batch = spill.read(300)
        assert 0 < len(batch) <= 300
        found += batch
        spill.done()
    assert found == rows
    spill.append([("x", record("x"))])
    assert [id for id, _ in spill.read(5)] == ["x"]
    spill.close()


def test_what_is_no_utf_8_is_kept(tmp_path: Path) -> None:
    spill = Spill(tmp_path, "one")
    assert spill.append([("a", record("1", server="vllm:\udcff"))]) == 1
    assert [row.server for _, row in spill.read(5)] == ["vllm:?"]
    spill.close()


def test_a_line_that_was_cut_or_is_nonsense_costs_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spill = Spill(tmp_path, "one")
    spill.append([("a", record("1")), ("b", record("2"))])
    spill.close()
    [path] = spills(tmp_path)
    whole = path.read_bytes()
    odd = whole.splitlines()[0].replace(b'"seconds":0.5', b'"seconds":null')
    path.write_bytes(b"nonsense\n[]\n{}\n" + odd + b"\n" + whole + whole[:50])
    after = Spill(tmp_path, "two")
    assert after.adopt()
    assert [id for id, _ in after.read(10)] == ["a", "b"]
    assert after.damaged == 5
    after.done()
    assert "5 lines" in caplog.text
    assert spills(tmp_path) == []


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    spill = Spill(tmp_path, "one")
    spill.append([("a", record("1"))])
    real, calls = os.write, []

    def half(number: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real(number, data[: len(data) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space"):
            spill.append([("b", record("2"))])
    spill.append([("c", record("3"))])
    assert [id for id, _ in spill.read(9)] == ["a", "c"]
    assert (spill.damaged, spill.waiting) == (0, 2)
    spill.close()


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "new", "one")
    spill.append([("a", record("1"))])
    assert spills(tmp_path / "new")[0].stat().st_mode & 0o777 == 0o600
    spill.close()


# Real stores.


async def counted(url: str) -> int:
    async with Store(url) as store:
        return (await UsageStore(store).report(UsageQuery(by=()))).rows[0].requests


@contextlib.asynccontextmanager
async def writing(url: str, folder: Path, slow: float = 20.0) -> AsyncIterator[UsageWriter]:
    """`slow` is long, for a machine that stalls; what hangs is for tests that say so."""
    store = LastingStore(url)
    async with store, UsageWriter(UsageStore(store), folder, every=0.05, slow=slow) as writer:
        yield writer


async def test_a_real_store(url: str, tmp_path: Path) -> None:
    async with writing(url, tmp_path) as writer:
        note(writer, 1234)
        await writer.flush()
        assert await counted(url) == 1234
        note(writer, 10)
    assert await counted(url) == 1244
    assert writer.stored == 1244


async def test_a_locked_sqlite_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/relay.db"
    async with writing(url, tmp_path, slow=0.5) as writer:
        note(writer, 5)
        await until(lambda: writer.stored == 5 and not spills(tmp_path))
        other = sqlite3.connect(tmp_path / "relay.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        note(writer, 100)
        await until(lambda: bool(writer.trouble))
        await until(lambda: spilled_lines(tmp_path) == 100)
        other.execute("ROLLBACK")
        other.close()
        await until(lambda: writer.trouble == "" and writer.waiting == 0)
        assert await counted(url) == 105
    assert spills(tmp_path) == []


async def test_a_sqlite_file_that_is_gone_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "BUSY", 1.0)
    folder = tmp_path / "data"
    url = f"sqlite:///{folder}/relay.db"
    async with writing(url, tmp_path) as writer:
        note(writer, 5)
        await writer.flush()
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        note(writer, 7)
        await writer.flush()
        assert (await counted(url), writer.trouble) == (7, "")


async def test_a_folder_that_cannot_be_used_yet(tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.write_text("in the way")
    url = f"sqlite:///{place}/relay.db"
    async with writing(url, tmp_path) as writer:
        note(writer, 7)
        await until(lambda: "cannot be opened" in writer.trouble)
        place.unlink()
        await until(lambda: writer.trouble == "" and writer.waiting == 0)
    assert await counted(url) == 7


async def test_a_postgresql_that_goes_and_comes(tmp_path: Path) -> None:
    needed()
    server = await asyncio.to_thread(Server)
    try:
        async with writing(server.url, tmp_path) as writer:
            note(writer, 10)
            await writer.flush()
            assert writer.stored == 10
            await asyncio.to_thread(server.stop, "immediate")
            note(writer, 10)
            await until(lambda: bool(writer.trouble) and spilled_lines(tmp_path) == 10)
            await asyncio.to_thread(server.start)
            await until(lambda: writer.trouble == "" and writer.waiting == 0)
            note(writer, 10)
        assert await counted(server.url) == 30
    finally:
        await asyncio.to_thread(server.close)


KILLED = """
import asyncio, sys
from pathlib import Path
from h2o_relay.accounting.record import Record
from h2o_relay.accounting.usage_writer import UsageWriter
from h2o_relay.store import LastingStore, UsageStore

async def main(url, folder):
    async with LastingStore(url) as store, UsageWriter(UsageStore(store), Path(folder)) as writer:
        number = 0
        while True:
            for _ in range(20):
                number += 1
                writer.note(Record(id=str(number), at=1e9, method="GET", route="/", status=200))
            print(number, flush=True)
            await asyncio.sleep(0.02)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("locked", [False, True])
async def test_a_kill_costs_the_last_second(tmp_path: Path, locked: bool) -> None:
    url = f"sqlite:///{tmp_path}/relay.db"
    async with Store(url):
        pass
    words = [sys.executable, "-c", KILLED, url, str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    assert process.stdout is not None
    other = sqlite3.connect(tmp_path / "relay.db", isolation_level=None)
    try:
        told: list[tuple[float, int]] = []
        await asyncio.to_thread(process.stdout.readline)
        if locked:
            other.execute("BEGIN IMMEDIATE")
        end = time.monotonic() + 6
        while time.monotonic() < end:
            line = await asyncio.to_thread(process.stdout.readline)
            told.append((time.monotonic(), int(line)))
        killed = time.monotonic()
    finally:
        process.kill()
        process.communicate()
        other.close()
    async with writing(url, tmp_path) as writer:
        await until(lambda: not spills(tmp_path) and writer.waiting == 0)
    older = max(number for at, number in told if at < killed - 4)
    assert await counted(url) >= older > 100
