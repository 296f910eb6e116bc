"""`Store`: transactions in a thread, callers that go, processes that share a file or die."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from h2o_relay.errors import InvalidRequest, StoreError
from h2o_relay.store import Conversations, Store
from h2o_relay.store import database as database_module
from h2o_relay.store import engine as engine_module

PATIENCE = 40  # seconds, for processes on a slow machine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "relay.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


def add(title: str) -> Callable[[Session], None]:
    """Work that stores one conversation, in two statements."""
    names = "owner, id, kind, created, updated, title, folded_title, text, settings, messages"

    def work(session: Session) -> None:
        values = f"'o', '{title}', 'chat', 0, 0, 'half', '', '', '{{}}', '[]'"
        session.execute(text(f"INSERT INTO conversations ({names}) VALUES ({values})"))
        session.execute(text("UPDATE conversations SET title = id WHERE title = 'half'"))

    return work


def titles(session: Session) -> list[str]:
    return list(session.execute(text("SELECT title FROM conversations ORDER BY title")).scalars())


class Gate:
    """Work that holds up the store's thread until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, session: Session) -> str:
        self.reached.set()
        assert self.open.wait(PATIENCE)
        return "through"

    async def closed_behind(self, store: Store) -> asyncio.Task[str]:
        task = asyncio.create_task(store.run(self))
        assert await asyncio.to_thread(self.reached.wait, PATIENCE)
        return task


@contextmanager
def writing_elsewhere(path: Path) -> Iterator[None]:
    """Another program has a transaction open that writes."""
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
    finally:
        other.close()


async def test_work_is_one_transaction_in_a_thread_of_the_store(url: str) -> None:
    async with Store(url) as store:
        thread = await store.run(lambda session: threading.current_thread())
        assert thread.name.startswith("store")
        assert thread is await store.run(lambda session: threading.current_thread())
        assert await store.run(add("a")) is None
        assert await store.run(titles, write=False) == ["a"]
    await asyncio.to_thread(thread.join, PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize("error", [InvalidRequest("no"), ZeroDivisionError(), StoreError("own")])
async def test_what_fails_half_way_leaves_nothing(url: str, error: Exception) -> None:
    def work(session: Session) -> None:
        add("a")(session)
        raise error

    async with Store(url) as store:
        with pytest.raises(type(error)) as caught:
            await store.run(work)
        assert caught.value is error
        assert await store.run(titles) == []
        await store.run(add("b"))


async def test_a_failure_of_the_database_is_one_line_without_what_is_stored(
    url: str, path: Path
) -> None:
    def work(session: Session) -> None:
        add("a")(session)
        add("a")(session)

    def secret(session: Session) -> None:
        session.execute(text("INSERT INTO none VALUES (:text)"), {"text": "SECRET"})

    async with Store(url) as store:
        with pytest.raises(StoreError) as caught:
            await store.run(work)
        assert caught.value.status == 500
        assert caught.value.message == (
            f"the store ({path}) failed: UNIQUE constraint failed: "
            "conversations.owner, conversations.id"
        )
        with pytest.raises(StoreError, match="no such table: none") as caught:
            await store.run(secret)
        assert "SECRET" not in f"{caught.value} {caught.value.__cause__}"


async def test_a_full_disk(url: str) -> None:
    def work(session: Session) -> None:
        session.execute(text("PRAGMA max_page_count = 1"))
        size = 10**6
        session.execute(text(f"INSERT INTO added_models VALUES ('a', 0, hex(zeroblob({size})))"))

    async with Store(url) as store:
        with pytest.raises(StoreError, match="database or disk is full"):
            await store.run(work)


async def test_text_that_cannot_be_encoded(url: str) -> None:
    async with Store(url) as store:
        with pytest.raises(StoreError, match="surrogates not allowed"):
            await Conversations(store).list("\ud800")


async def test_reading_waits_for_no_writer_and_writing_not_for_ever(
    url: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "BUSY", 0.1)
    async with Store(url) as store:
        await store.run(add("a"))
        with writing_elsewhere(path):
            assert await store.run(titles, write=False) == ["a"]
            with pytest.raises(StoreError, match="database is locked"):
                await store.run(add("b"))
        await store.run(add("c"))
        assert await store.run(titles) == ["a", "c"]


async def test_writing_waits_for_another_process(url: str, path: Path) -> None:
    async with Store(url) as store:
        with writing_elsewhere(path):
            task = asyncio.create_task(store.run(add("a")))
            await asyncio.wait([task], timeout=0.1)
            assert not task.done()
        async with asyncio.timeout(PATIENCE):
            await task
        assert await store.run(titles) == ["a"]


async def test_a_caller_who_goes_stops_nothing(url: str) -> None:
    """Neither what runs, nor what waits for its turn; and nothing is done by half."""
    gate = Gate()

    def slow(session: Session) -> None:
        add("running")(session)
        gate(session)

    async with Store(url) as store:
        running = asyncio.create_task(store.run(slow))
        assert await asyncio.to_thread(gate.reached.wait, PATIENCE)
        waiting = asyncio.create_task(store.run(add("waiting")))
        await asyncio.sleep(0)
        for task in (running, waiting):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        gate.open.set()
        async with asyncio.timeout(PATIENCE):
            assert await store.run(titles) == ["running", "waiting"]


async def test_what_fails_after_its_caller_went_is_logged(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()

    def work(session: Session) -> None:
        add("a")(session)
        gate(session)
        raise StoreError("it broke")

    async with Store(url) as store:
        task = asyncio.create_task(store.run(work))
        assert await asyncio.to_thread(gate.reached.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError), caplog.at_level(logging.WARNING):
            await task
        gate.open.set()
        async with asyncio.timeout(PATIENCE):
            assert await store.run(titles) == []
    assert [record.getMessage() for record in caplog.records] == [
        "nobody waits any more for what failed: it broke"
    ]


async def test_closing_waits_for_what_was_begun(url: str) -> None:
    gate = Gate()
    store = Store(url)
    await store.__aenter__()
    first = await gate.closed_behind(store)
    rest = [asyncio.create_task(store.run(add(f"{n}"))) for n in range(5)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(store.__aexit__(None, None, None))
    await asyncio.wait([closing], timeout=0.05)
    assert not closing.done()
    with pytest.raises(StoreError, match="is not open"):
        await store.run(titles)
    gate.open.set()
    async with asyncio.timeout(PATIENCE):
        await closing
        assert await first == "through"
        await asyncio.gather(*rest)
    async with Store(url) as again:
        assert await again.run(titles) == ["0", "1", "2", "3", "4"]


async def test_a_store_can_be_opened_again_and_closing_twice_is_nothing(url: str) -> None:
    store = Store(url)
    with pytest.raises(StoreError, match="is not open"):
        await store.run(titles)
    async with store:
        await store.run(add("a"))
    await store.__aexit__(None, None, None)
    async with store:
        assert await store.run(titles) == ["a"]


async def test_an_opening_that_is_cancelled_leaves_nothing_open(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go = threading.Event(), threading.Event()
    opened: list[Any] = []
    real = database_module.open_engine

    def slow(target: Any) -> Any:
        reached.set()
        assert go.wait(PATIENCE)
        opened.append(real(target))
        return opened[-1]

    monkeypatch.setattr(database_module, "open_engine", slow)
    store = Store(url)
    task = asyncio.create_task(store.__aenter__())
    assert await asyncio.to_thread(reached.wait, PATIENCE)
    task.cancel()
    await asyncio.wait([task], timeout=0.05)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert opened[0].pool.checkedin() == 0
    with pytest.raises(StoreError, match="is not open"):
        await store.run(titles)


async def test_two_stores_of_one_process(url: str) -> None:
    """Opening the second drops no lock of the first (POSIX locks belong to processes)."""
    gate = Gate()

    def work(session: Session) -> None:
        add("first")(session)
        gate(session)

    async with Store(url) as one, Store(url) as two:
        running = asyncio.create_task(one.run(work))
        assert await asyncio.to_thread(gate.reached.wait, PATIENCE)
        third = Store(url)
        opening = asyncio.create_task(third.__aenter__())
        waiting = asyncio.create_task(two.run(add("second")))
        await asyncio.wait([waiting, opening], timeout=0.1)
        assert not waiting.done()
        assert not opening.done()
        gate.open.set()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(running, waiting, opening)
        assert await third.run(titles) == ["first", "second"]
        await third.__aexit__(None, None, None)


async def test_a_second_store_takes_no_lock_from_the_first(url: str, path: Path) -> None:
    """A process that closes any descriptor of a file loses its locks on it: the next program to
    close the database would think itself the last, and take the log of the others away.
    """
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]).fetchall()"
    )
    words = [sys.executable, "-c", f"{code}; c.close()", path, "SELECT title FROM conversations"]
    async with Store(url) as one, Store(url) as two:
        await one.run(add("before"))
        await asyncio.to_thread(subprocess.run, words, check=True, timeout=PATIENCE)
        await one.run(add("after"))
        assert await two.run(titles) == ["after", "before"]
        with closing(sqlite3.connect(path)) as plain:
            assert len(plain.execute("SELECT title FROM conversations").fetchall()) == 2


async def test_stores_are_created_beside_each_other(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        stores = [Store(f"sqlite:///{tmp_path}/{n}.db") for n in range(6)]
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(stack.enter_async_context(store) for store in stores))
        for store in stores:
            await store.run(add("a"))


async def test_opening_waits_for_another_process(url: str, path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE another (x)")
    with writing_elsewhere(path):
        opening = asyncio.create_task(Store(url).__aenter__())
        await asyncio.wait([opening], timeout=0.1)
        assert not opening.done()
    async with asyncio.timeout(PATIENCE):
        store = await opening
    assert await store.run(titles) == []
    await store.__aexit__(None, None, None)


async def test_many_at_once(url: str) -> None:
    async with Store(url) as one, Store(url) as two:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(s.run(add(f"{i}")) for i, s in enumerate([one, two] * 50)))
        assert len(await one.run(titles)) == 100


async def test_a_power_cut_costs_no_more_than_the_last_transactions(url: str) -> None:
    """WAL with NORMAL: whole transactions, the last ones perhaps not yet on the disk."""

    def work(session: Session) -> list[Any]:
        names = ("journal_mode", "synchronous")
        return [session.execute(text(f"PRAGMA {name}")).scalar() for name in names]

    async with Store(url) as store:
        assert await store.run(work) == ["wal", 1]


# Other processes.

WRITER = """
import asyncio, sys
from h2o_relay.store import Conversations, Store

async def main(url, owner, count):
    print("ready", flush=True)
    sys.stdin.readline()
    async with Store(url) as store:
        conversations = Conversations(store)
        for number in range(count):
            made = await conversations.create(owner, title=str(number))
            print(made.id, flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def writer(url: str, owner: str, count: int) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", WRITER, url, owner, str(count)]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@contextmanager
def ready(*processes: subprocess.Popen[str]) -> Iterator[None]:
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


async def test_processes_create_one_store_at_once_and_write_to_it(url: str) -> None:
    owners = ["a", "b", "c"]
    processes = [writer(url, owner, 20) for owner in owners]
    with ready(*processes):
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            _, err = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
            assert (process.returncode, err) == (0, "")
    async with Store(url) as store:
        lists = [await Conversations(store).list(owner) for owner in owners]
    assert [len(found) for found in lists] == [20, 20, 20]


async def test_a_killed_process_loses_nothing_that_it_was_told_is_stored(
    url: str, path: Path
) -> None:
    process = writer(url, "a", 10_000)
    with ready(process):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        lines = [await asyncio.to_thread(process.stdout.readline) for _ in range(20)]
        process.kill()
        rest, _ = process.communicate()
    told = {line.strip() for line in [*lines, *rest.splitlines(keepends=True)] if line[-1:] == "\n"}
    assert len(told) >= 20
    async with Store(url) as store:
        found = await Conversations(store).list("a", limit=100_000)
        await store.run(add("still good"))
    assert told <= {summary.id for summary in found}
    with closing(sqlite3.connect(path)) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_an_error_of_sqlalchemy_is_behind_ours(url: str) -> None:
    async with Store(url) as store:
        with pytest.raises(StoreError) as caught:
            await store.run(lambda session: session.execute(text("SELECT")))
        assert isinstance(caught.value.__cause__, OperationalError)
