"""Limits handed out in slices, to workers that are simulated in one process."""

from __future__ import annotations

import asyncio
import random

import pytest

from h2o_relay.accounting.caller import Caller
from h2o_relay.accounting.permits import LimitReached, Permit
from h2o_relay.accounting.sliced_counters import SlicedCounters
from h2o_relay.accounting.slices import LASTS, Amounts, Back, Coordinator, Slice
from h2o_relay.accounting.windows import SECOND, WINDOW
from h2o_relay.testing.upstream import until

from .limits_kit import Standstill, caller

NANO = 1_000_000_000


class Counting(Coordinator):
    """Counts what it is asked."""

    asked = told = 0

    def give(self, number: int, back: Back) -> None:
        self.told += 1
        super().give(number, back)

    async def take(self, worker: str, caller: Caller, tokens: int, cost: int) -> Slice:
        self.asked += 1
        return await super().take(worker, caller, tokens, cost)


class Machine:
    """A coordinator and two workers, whose clock stands."""

    def __init__(self) -> None:
        self.still = Standstill()
        self.coordinator = Counting(self.still.clock)
        self.workers = [
            SlicedCounters(name, self.coordinator, self.still.clock) for name in ("a", "b")
        ]

    async def try_(self, worker: int, who: Caller, tokens: int = 0, cost: int = 0) -> Permit | None:
        """None if it is refused. Time passes for those who wait."""
        task = asyncio.create_task(self.workers[worker].admit(who, tokens, cost))
        while not task.done():
            for _ in range(3):
                await asyncio.sleep(0)
            if not task.done():
                self.pass_by(0.05)
        try:
            return task.result()
        except LimitReached:
            return None

    def pass_by(self, seconds: float) -> None:
        self.still.pass_by(seconds)
        for worker in self.workers:
            worker.sweep()


@pytest.fixture
def machine() -> Machine:
    return Machine()


async def test_far_from_the_limit_one_question_serves_many(machine: Machine) -> None:
    who = caller(requests_per_minute=8000)
    for _ in range(1000):
        assert await machine.try_(0, who)
    assert machine.coordinator.asked == 1


async def test_together_they_admit_as_many_as_may(machine: Machine) -> None:
    who = caller(requests_per_minute=100)
    admitted = 0
    for turn in range(150):
        admitted += await machine.try_(turn % 2, who) is not None
    assert admitted == 100


@pytest.mark.parametrize("seed", range(8))
async def test_no_sixty_seconds_hold_more_than_the_limit(machine: Machine, seed: int) -> None:
    """Of requests, of tokens as estimated, and at the same time; three minutes at random."""
    rng, admitted = random.Random(seed), []
    who = caller(requests_per_minute=40, tokens_per_minute=400, concurrent=7)
    running: list[Permit] = []
    refusals = 0
    while machine.still.steady < 3 * WINDOW:
        tokens = rng.randint(1, 20)
        permit = await machine.try_(rng.randrange(2), who, tokens)
        if permit is None:
            refusals += 1
        else:
            admitted.append((machine.still.steady, tokens))
            running.append(permit)
        assert len(running) <= 7
        while running and rng.random() < 0.4:
            ended = running.pop(rng.randrange(len(running)))
            ended.release()
        machine.pass_by(rng.choice([0.001, 0.1, 0.5, 2]))
    assert refusals > 10
    for begins, _ in admitted:
        inside = [n for at, n in admitted if begins <= at < begins + WINDOW]
        assert len(inside) <= 40
        assert sum(inside) <= 400


async def test_what_one_does_not_use_the_other_gets(machine: Machine) -> None:
    """It is not refused meanwhile: the coordinator waits for it."""
    who = caller(requests_per_minute=16)
    assert await machine.try_(0, who)  # a slice of two
    admitted = 0
    for _ in range(20):
        admitted += await machine.try_(1, who) is not None
    assert admitted == 15


async def test_the_wait_that_is_told_is_long_enough(machine: Machine) -> None:
    who = caller(requests_per_minute=10)
    for _ in range(10):
        assert await machine.try_(0, who)
    with pytest.raises(LimitReached) as caught:
        await machine.workers[1].admit(who, 0, 0)
    wait = caught.value.retry_after
    assert wait is not None
    assert 59 < wait <= 60.25
    machine.pass_by(wait - 0.001)
    assert await machine.try_(1, who) is None
    machine.pass_by(0.001)
    assert await machine.try_(1, who)


async def test_tokens_that_were_not_used_come_back(machine: Machine) -> None:
    who = caller(tokens_per_minute=1000)
    long_ones = [await machine.try_(turn % 2, who, 100) for turn in range(10)]
    assert all(long_ones)
    assert await machine.try_(0, who, 1) is None
    machine.pass_by(1)  # their slices are closed
    for permit in long_ones:
        assert permit is not None
        permit.settle(10, None)
        permit.release()
    assert [bool(await machine.try_(turn % 2, who, 100)) for turn in range(10)] == [
        *[True] * 9,
        False,
    ]


async def test_places_come_back_as_requests_end(machine: Machine) -> None:
    who = caller(concurrent=3)
    one, two = await machine.try_(0, who), await machine.try_(1, who)
    three = await machine.try_(1, who)
    assert None not in (one, two, three)
    assert two
    assert await machine.try_(0, who) is None
    two.release()
    two.release()
    assert await machine.try_(0, who)
    assert await machine.try_(1, who) is None


async def test_a_worker_that_dies_keeps_no_place(machine: Machine) -> None:
    who = caller(concurrent=2, requests_per_minute=3)
    assert await machine.try_(0, who)
    assert await machine.try_(0, who)
    assert await machine.try_(1, who) is None
    machine.coordinator.gone("a")
    assert await machine.try_(1, who)
    assert await machine.try_(1, who) is None  # the requests stay counted
    machine.coordinator.give(1, Back(amounts=Amounts(running=9), last=True))  # it was not dead


@pytest.mark.parametrize("seed", range(4))
async def test_a_budget_is_not_overspent(machine: Machine, seed: int) -> None:
    """By more than the running ones cost beyond their estimate; and all of it can be spent."""
    rng, spent, running = random.Random(seed), 0, []
    who = caller(budget=1.0)
    estimate, most = NANO // 100, 2 * NANO // 100
    for _ in range(400):
        permit = await machine.try_(rng.randrange(2), who, 0, estimate)
        if permit is not None:
            running.append(permit)
        while len(running) > 10 or (running and permit is None):
            cost = rng.randint(0, most)
            spent += cost
            ended = running.pop()
            ended.settle(None, cost / NANO)
            ended.release()
        machine.pass_by(0.03)
    assert not running
    assert NANO - estimate < spent <= NANO + 11 * (most - estimate)
    assert machine.coordinator._counters.book(who.id).budget("month").held == 0


async def test_a_seed_counts_for_all(machine: Machine) -> None:
    who = caller(budget=1.0)
    machine.workers[0].seed(who.id, "month", 9 * NANO // 10)
    assert await machine.try_(1, who, 0, NANO // 5) is None
    assert await machine.try_(1, who, 0, NANO // 10)


async def test_headers_leave_out_what_of_the_slice_is_not_used(machine: Machine) -> None:
    who = caller(requests_per_minute=80)
    first, second = await machine.try_(0, who), await machine.try_(0, who)
    assert first
    assert second
    told = [dict(p.headers)[b"x-ratelimit-remaining-requests"] for p in (first, second)]
    assert told == [b"79", b"78"]


async def test_limits_that_change_hold_at_once(machine: Machine) -> None:
    for _ in range(3):
        assert await machine.try_(0, caller(requests_per_minute=800))
    assert await machine.try_(0, caller(requests_per_minute=3)) is None


async def test_nothing_is_left_over(machine: Machine) -> None:
    """Nor when a worker leaves, nor when who waits is cancelled."""
    who = caller(requests_per_minute=100, tokens_per_minute=1000, concurrent=1, budget=1.0)
    permit = await machine.try_(0, who, 10, NANO // 10)
    assert permit
    waiting = asyncio.create_task(machine.workers[1].admit(who, 10, NANO // 10))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    permit.settle(0, 0.0)
    permit.release()
    for worker in machine.workers:
        await worker.aclose()
    book = machine.coordinator._counters.book(who.id)
    machine.still.steady += WINDOW + LASTS + SECOND
    now = machine.still.steady
    assert (book.running, book.requests.look(now), book.tokens.look(now)) == (0, 0, 0)
    budget = book.budget("month")
    assert (budget.taken, budget.held) == (0, 0)
    assert not machine.coordinator._lent


async def test_what_requests_have_not_used_is_told_together(machine: Machine) -> None:
    """In a moment where nobody waits for it, with the slice that is closed, or at the end."""
    who = caller(tokens_per_minute=100_000, concurrent=800, budget=1000.0)
    book = machine.coordinator._counters.book(who.id)
    permits = [await machine.try_(0, who, 100, NANO) for _ in range(20)]
    for permit in permits[:10]:
        assert permit
        permit.settle(40, 0.25)
        permit.release()
    assert machine.coordinator.told == 0
    before, spent = book.tokens.used, book.budget("month").taken
    await until(lambda: machine.coordinator.told > 0, within=5)
    assert machine.coordinator.told == 1
    assert book.tokens.used == before - 10 * 60
    assert book.budget("month").taken == spent - 10 * NANO * 3 // 4
    for permit in permits[10:15]:
        assert permit
        permit.settle(140, 1.5)  # more than was reserved
        permit.release()
    machine.pass_by(1)  # its slice is over
    assert machine.coordinator.told == 2
    for permit in permits[15:]:
        assert permit
        permit.settle(100, 1.0)
        permit.release()
    await machine.workers[0].aclose()
    assert book.tokens.used == 10 * 40 + 5 * 140 + 5 * 100
    budget = book.budget("month")
    assert (budget.taken, budget.held) == ((10 * 25 + 5 * 150 + 5 * 100) * NANO // 100, 0)
    assert book.running == 0
    assert not machine.coordinator._lent


async def test_slices_that_come_too_late_are_not_used() -> None:
    """A coordinator that takes longer than its slices last: nothing is let in on their account."""
    still = Standstill()

    class Slow(Coordinator):
        async def take(self, worker: str, caller: Caller, tokens: int, cost: int) -> Slice:
            found = await super().take(worker, caller, tokens, cost)
            still.pass_by(1)
            return found

    coordinator = Slow(still.clock)
    worker = SlicedCounters("a", coordinator, still.clock)
    who = caller(concurrent=5)
    with pytest.raises(Exception, match="too busy"):
        await worker.admit(who, 0, 0)
    await worker.aclose()
    assert coordinator._counters.book(who.id).running == 0


async def test_what_is_used_beside_a_slice_is_counted_however_late(machine: Machine) -> None:
    """Nothing of its key is in use any more when it is told, and others have come and gone."""
    who = caller("slow", tokens_per_minute=100)
    counters = machine.coordinator._counters
    slice = await machine.coordinator.take("a", who, 8, 0)
    machine.pass_by(90)
    for number in range(50):
        counters.take(caller(f"{number}", requests_per_minute=1), 0, 0).release()
        machine.pass_by(61)
    assert "slow" not in counters._books
    back = Back(amounts=Amounts(tokens=-95), closed=True, last=True)
    machine.coordinator.give(slice.number, back)
    del slice
    with pytest.raises(LimitReached):
        await machine.coordinator.take("a", who, 8, 0)
    machine.pass_by(61)
    await machine.coordinator.take("a", who, 8, 0)
