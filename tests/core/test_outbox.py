"""What is written at the end of a turn: in order, once, and to nobody who has gone."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from h2o_relay.outbox import Outbox, outbox_of


class Wire:
    def __init__(self, log: list[tuple[str, bytes]], name: str) -> None:
        self.log, self.name, self.closing = log, name, False

    def write(self, data: bytes) -> None:
        self.log.append((self.name, data))

    def is_closing(self) -> bool:
        return self.closing


def busy() -> Outbox:
    """The loop's, while two requests are being answered."""
    outbox = outbox_of(asyncio.get_running_loop())
    outbox.running = 2
    return outbox


async def test_it_is_written_at_once_where_nothing_else_runs() -> None:
    log: list[tuple[str, bytes]] = []
    outbox, a = outbox_of(asyncio.get_running_loop()), Wire(log, "a")
    for outbox.running in (0, 1):
        outbox.put(a, b"1")
        assert log.pop() == ("a", b"1")
    outbox.running = 2
    outbox.put(a, b"2")
    outbox.running = 1  # but nothing overtakes what waits
    outbox.put(a, b"3")
    assert log == []
    await asyncio.sleep(0)
    assert log == [("a", b"2"), ("a", b"3")]


async def test_it_is_written_in_the_next_turn_and_in_order() -> None:
    log: list[tuple[str, bytes]] = []
    outbox, a, b = busy(), Wire(log, "a"), Wire(log, "b")
    outbox.put(a, b"1")
    outbox.put(b, b"2")
    outbox.put(a, b"3")
    assert log == []
    await asyncio.sleep(0)
    assert log == [("a", b"1"), ("b", b"2"), ("a", b"3")]
    await asyncio.sleep(0)
    outbox.put(b, b"4")
    await asyncio.sleep(0)
    assert log[3:] == [("b", b"4")]


async def test_what_comes_later_finds_it_written() -> None:
    """Whatever is called in a turn after `put` was, and was not asked for before."""
    log: list[tuple[str, bytes]] = []
    loop = asyncio.get_running_loop()
    outbox, a = busy(), Wire(log, "a")
    done = loop.create_future()
    outbox.put(a, b"1")
    loop.call_soon(lambda: done.set_result(list(log)))
    assert await done == [("a", b"1")]


async def test_flush_writes_at_once_and_only_once() -> None:
    log: list[tuple[str, bytes]] = []
    outbox, a = busy(), Wire(log, "a")
    outbox.put(a, b"1")
    outbox.flush()
    assert log == [("a", b"1")]
    outbox.put(a, b"2")  # before the turn that the first one asked for
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert log == [("a", b"1"), ("a", b"2")]


async def test_nothing_is_written_to_who_has_gone() -> None:
    log: list[tuple[str, bytes]] = []
    outbox, a, b = busy(), Wire(log, "a"), Wire(log, "b")
    outbox.put(a, b"1")
    outbox.put(b, b"2")
    a.closing = True
    await asyncio.sleep(0)
    assert log == [("b", b"2")]


def test_each_loop_has_its_own() -> None:
    async def mine() -> Outbox:
        found = outbox_of(asyncio.get_running_loop())
        assert outbox_of(asyncio.get_running_loop()) is found
        return found

    assert asyncio.run(mine()) is not asyncio.run(mine())


async def test_one_that_fails_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Wire):
        def write(self, data: bytes) -> None:
            raise RuntimeError("the handler is closed")

    log: list[tuple[str, bytes]] = []
    outbox = busy()
    outbox.put(Broken(log, "a"), b"1")
    outbox.put(Wire(log, "b"), b"2")
    await asyncio.sleep(0)
    assert log == [("b", b"2")]
    assert "could not be written to" in caplog.text


def test_nothing_is_left_of_a_loop_that_is_over() -> None:
    loop = asyncio.new_event_loop()
    outbox_of(loop)
    gone = weakref.ref(loop)
    loop.close()
    del loop
    gc.collect()
    assert gone() is None
