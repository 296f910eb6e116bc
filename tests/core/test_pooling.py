"""A pool's queue: whoever waits is woken when there is a slot, and told when there is no hope."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from h2o_relay import pooling
from h2o_relay.errors import Overloaded, UpstreamUnavailable
from h2o_relay.pooling import Pool
from h2o_relay.pools import PoolSpec
from h2o_relay.testing.upstream import until

SOON = 5.0


@pytest.fixture(autouse=True)
def no_looks_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a wake-up that is lost is not made good."""
    monkeypatch.setattr(pooling, "LOOK", 1000.0, raising=False)


@dataclass
class Owner:
    pools: set[Any] = field(default_factory=set)
    seen: bool = True

    def state(self, now: float | None = None) -> tuple[str, str]:
        return "healthy", ""


@dataclass(eq=False)
class Member:
    """As much of a `Route` as a pool looks at."""

    name: str
    limit: int | None = 1
    in_flight: int = 0
    usable: bool = True
    seen: bool = True
    degraded: bool = False
    reported: float | None = None
    reported_at_in_flight: int = 0
    latency: float | None = None
    loaded: bool | None = None
    entry: Owner = field(default_factory=Owner)

    def done(self) -> None:
        self.in_flight -= 1
        for pool in tuple(self.entry.pools):
            pool.wake()


def pool_of(*members: Member, missing: tuple[str, ...] = (), queue: int = 100) -> Pool:
    pool = Pool(PoolSpec(name="p", members=tuple(m.name for m in members) or ("a",), queue=queue))
    fill(pool, *members, missing=missing)
    return pool


def fill(pool: Pool, *members: Any, missing: tuple[str, ...] = (), **more: bool) -> None:
    pool.fill(members, missing, 1, **more)


async def ask(pool: Pool, *excluded: Any) -> Any:
    """The member that was taken, leased."""
    chosen = await pool.take(None, excluded)
    member: Any = chosen.member
    member.in_flight += 1
    return member


async def waiting(pool: Pool, *excluded: Any) -> asyncio.Task[Any]:
    """Somebody who waits now."""
    before = pool.waiting
    task = asyncio.create_task(ask(pool, *excluded))
    await until(lambda: pool.waiting > before, within=SOON)
    return task


async def got(task: asyncio.Task[Any]) -> Any:
    async with asyncio.timeout(SOON):
        return await task


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_in_the_order_of_coming() -> None:
    a = Member("a")
    pool = pool_of(a)
    assert await ask(pool) is a
    tasks = [await waiting(pool) for _ in range(3)]
    for number, task in enumerate(tasks):
        a.done()
        assert await got(task) is a
        assert pool.waiting == 2 - number
        assert a.in_flight == 1


async def test_two_slots_at_once_keep_the_order() -> None:
    a = Member("a", limit=2, in_flight=2)
    pool = pool_of(a)
    tasks = [await waiting(pool) for _ in range(3)]
    pool.wake()
    pool.wake()  # in vain, for both who look
    await settle()
    a.done()
    assert await got(tasks[0]) is a
    a.done()
    assert await got(tasks[1]) is a
    assert not tasks[2].done()
    tasks[2].cancel()


async def test_one_slot_is_not_given_twice() -> None:
    a = Member("a", in_flight=1)
    pool = pool_of(a)
    first, second = await waiting(pool), await waiting(pool)
    a.done()
    newcomer = asyncio.create_task(ask(pool))
    assert await got(first) is a
    await settle()
    assert a.in_flight == 1
    assert not second.done()
    assert not newcomer.done()
    for task in (second, newcomer):
        task.cancel()


async def test_who_leaves_as_it_is_woken_hands_on() -> None:
    a = Member("a", in_flight=1)
    pool = pool_of(a)
    first, second = await waiting(pool), await waiting(pool)
    a.done()
    first.cancel()
    assert await got(second) is a
    assert first.cancelled() or first.done()


async def test_who_leaves_leaves_nothing() -> None:
    a = Member("a", in_flight=1)
    pool = pool_of(a)
    tasks = [await waiting(pool) for _ in range(3)]
    tasks[0].cancel()
    tasks[1].cancel()
    await settle()
    assert pool.waiting == 1
    a.done()
    assert await got(tasks[2]) is a


async def test_who_cannot_use_a_slot_lets_the_next_one_look() -> None:
    a, b = Member("a", in_flight=1), Member("b", in_flight=1)
    pool = pool_of(a, b)
    picky = await waiting(pool, a)
    other = await waiting(pool)
    a.done()
    assert await got(other) is a
    assert not picky.done()
    b.done()
    assert await got(picky) is b


async def test_who_comes_does_not_wait_behind_one_that_cannot_use_the_slot() -> None:
    a, b = Member("a", in_flight=1), Member("b", in_flight=1)
    pool = pool_of(a, b)
    picky = await waiting(pool, a)
    a.done()
    await settle()
    assert await got(asyncio.create_task(ask(pool))) is a
    b.done()
    assert await got(picky) is b


async def test_a_pause_that_ends_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooling, "LOOK", 0.02, raising=False)
    a, b = Member("a", in_flight=1), Member("b", degraded=True)
    pool = pool_of(a, b)
    task = await waiting(pool)
    b.degraded = False
    assert await got(task) is b


async def test_the_queue_is_bounded() -> None:
    pool = pool_of(Member("a", in_flight=1), queue=1)
    task = await waiting(pool)
    with pytest.raises(Overloaded, match="1 requests wait for the model `p`") as caught:
        await pool.take(None)
    assert caught.value.retry_after
    task.cancel()
    await settle()
    assert pool.waiting == 0


async def test_nobody_can_answer() -> None:
    pool = pool_of(Member("a", usable=False))
    with pytest.raises(UpstreamUnavailable, match=r"No server of the model `p`.*a is healthy"):
        await pool.take(None)
    with pytest.raises(UpstreamUnavailable, match="it has none"):
        await pool_of().take(None)


async def test_all_who_wait_are_told_when_there_is_no_hope() -> None:
    a = Member("a", in_flight=1)
    pool = pool_of(a)
    tasks = [await waiting(pool) for _ in range(3)]
    a.usable = False
    pool.wake()
    for task in tasks:
        with pytest.raises(UpstreamUnavailable):
            await got(task)
    assert pool.waiting == 0


async def test_other_members() -> None:
    old, new = Member("a", in_flight=1), Member("b")
    pool = pool_of(old)
    tasks = [await waiting(pool) for _ in range(2)]
    fill(pool, new)
    assert await got(tasks[0]) is new
    new.done()
    assert await got(tasks[1]) is new
    assert (old.entry.pools, new.entry.pools) == (set(), {pool})


async def test_who_waits_waits_for_members_that_are_being_opened() -> None:
    """A reload opens a server anew: what waited for the old one is not refused."""
    pool = pool_of(Member("a", in_flight=1))
    task = await waiting(pool)
    anew = Member("a", usable=False, seen=False)
    fill(pool, anew)
    await settle()
    assert not task.done()
    fill(pool, missing=("a",), pending=True)
    await settle()
    assert not task.done()
    fill(pool, Member("a"))
    assert (await got(task)).name == "a"


async def test_who_waits_for_members_that_do_not_come_is_told() -> None:
    pool = pool_of(Member("a", in_flight=1))
    task = await waiting(pool)
    fill(pool, missing=("a",), pending=False)
    with pytest.raises(UpstreamUnavailable):
        await got(task)


async def test_another_spec_keeps_the_queue() -> None:
    a = Member("a", in_flight=1)
    pool = pool_of(a)
    task = await waiting(pool)
    pool.change(PoolSpec(name="p", members=("a",), strategy="sticky", queue=0))
    fill(pool, a)
    await settle()
    assert not task.done()
    a.done()
    assert await got(task) is a


async def test_a_pool_that_is_gone_answers_who_waits_and_is_forgotten() -> None:
    a = Member("a", in_flight=1)
    pool = pool_of(a)
    task = await waiting(pool)
    pool.remove()
    assert a.entry.pools == {pool}
    a.done()
    assert await got(task) is a
    assert a.entry.pools == set()


async def test_a_pool_that_is_gone_and_has_no_queue() -> None:
    a = Member("a")
    pool = pool_of(a)
    pool.remove()
    assert a.entry.pools == set()


@pytest.mark.parametrize(
    ("members", "missing", "seen"),
    [
        ([], (), True),
        ([], ("a",), False),
        ([Member("a")], ("b",), True),
        ([Member("a", usable=False)], ("b",), False),
        ([Member("a", usable=False)], (), True),
        ([Member("a", usable=False, seen=False)], (), False),
    ],
)
def test_whether_waiting_for_first_looks_helps(
    members: list[Member], missing: tuple[str, ...], seen: bool
) -> None:
    for member in members:
        member.entry.seen = member.seen
    assert pool_of(*members, missing=missing).seen is seen


async def test_a_storm() -> None:
    """Some leave, some fail at a member: all the others are answered, and no slot is lost."""
    members = [Member("a", limit=2), Member("b", limit=1)]
    pool = pool_of(*members, queue=1000)

    async def one(number: int) -> str:
        excluded = [members[number % 2]] if number % 7 == 0 else []
        member = await ask(pool, *excluded)
        try:
            assert member.in_flight <= member.limit
            await asyncio.sleep(0.001 * (number % 3))
        finally:
            member.done()
        return str(member.name)

    tasks = [asyncio.create_task(one(number)) for number in range(300)]
    for number, task in enumerate(tasks):
        if number % 5 == 1:
            await asyncio.sleep(0)
            task.cancel()
    async with asyncio.timeout(30):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    left = [r for r in results if not isinstance(r, str | asyncio.CancelledError)]
    assert left == []
    assert sum(isinstance(r, str) for r in results) >= 240
    assert (pool.waiting, [m.in_flight for m in members]) == (0, [0, 0])
