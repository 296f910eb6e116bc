"""The gate: how many are inside, who is next, and a limit that changes."""

from __future__ import annotations

import asyncio

import pytest

from h2o_relay.gate import Gate


class Visitors:
    """Tasks that go through a gate and stay until they are let go."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.inside: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._leave: dict[int, asyncio.Event] = {}

    async def come(self, count: int) -> None:
        for _ in range(count):
            self.tasks.append(asyncio.create_task(self._visit(len(self.tasks))))
        await self.settle()

    async def _visit(self, number: int) -> None:
        leave = self._leave[number] = asyncio.Event()
        await self.gate.acquire()
        self.inside.append(number)
        try:
            await leave.wait()
        finally:
            self.inside.remove(number)
            self.gate.release()

    async def leave(self, number: int) -> None:
        self._leave[number].set()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_in_the_order_of_coming() -> None:
    visitors = Visitors(Gate(2))
    await visitors.come(4)
    assert visitors.inside == [0, 1]
    assert visitors.gate.locked()
    await visitors.leave(1)
    assert visitors.inside == [0, 2]
    await visitors.leave(0)
    assert visitors.inside == [2, 3]
    await visitors.leave(2)
    assert not visitors.gate.locked()
    await visitors.end()
    assert not visitors.gate.locked()


@pytest.mark.parametrize(("limit", "inside"), [(3, [0, 1, 2]), (None, [0, 1, 2, 3])])
async def test_more_may_enter(limit: int | None, inside: list[int]) -> None:
    visitors = Visitors(Gate(1))
    await visitors.come(4)
    visitors.gate.change(limit)
    await visitors.settle()
    assert visitors.inside == inside
    await visitors.end()


async def test_fewer_may_enter() -> None:
    """Those inside stay and are counted."""
    visitors = Visitors(Gate(3))
    await visitors.come(4)
    visitors.gate.change(1)
    await visitors.leave(0)
    await visitors.leave(1)
    assert visitors.inside == [2]
    await visitors.leave(2)
    assert visitors.inside == [3]
    await visitors.end()


async def test_those_without_a_limit_are_counted() -> None:
    visitors = Visitors(Gate(None))
    await visitors.come(2)
    visitors.gate.change(2)
    await visitors.come(1)
    assert visitors.inside == [0, 1]
    await visitors.end()


async def test_who_leaves_the_queue_takes_no_place() -> None:
    visitors = Visitors(Gate(1))
    await visitors.come(3)
    visitors.tasks[1].cancel()
    await visitors.leave(0)
    assert visitors.inside == [2]
    await visitors.end()
    assert not visitors.gate.locked()


async def test_who_leaves_as_he_is_let_in_gives_the_place_on() -> None:
    visitors = Visitors(Gate(1))
    await visitors.come(3)
    visitors.gate.release()  # number 0's: 1 is let in, and has not noticed
    visitors.tasks[1].cancel()
    await visitors.settle()
    assert visitors.inside == [0, 2]
    visitors.tasks[0].cancel()
    await visitors.end()
