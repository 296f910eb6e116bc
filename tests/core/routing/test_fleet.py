"""Strategies on a simulated fleet: eight servers, the fastest three times as fast as the slowest.

Everything is drawn from seeds and time is virtual, so that the figures are the same everywhere.
They are given as ratios of the 95th percentile of the time to the first token, over all requests of
several seeds.
"""

import random
from collections.abc import Callable, Sequence

import pytest

from h2o_relay.pools import PoolSpec, Strategy
from h2o_relay.routing import Router

from . import fleet
from .fleet import SERVERS, Pick, Run, simulate

SEEDS = range(8)
NAMES = tuple(f"server-{number}" for number in range(SERVERS))


def router(strategy: Strategy, seed: int) -> Pick:
    spec = PoolSpec(name="fleet", members=NAMES, strategy=strategy)
    return fleet.by(Router(spec, random.Random(seed)))


def p95(
    picks: Callable[[int], Sequence[Pick]],
    *,
    seeds: Sequence[int] = SEEDS,
    slots: int = fleet.SLOTS,
    report: float | None = None,
) -> float:
    """Of all seeds together."""
    waits: list[float] = []
    for seed in seeds:
        waits += simulate(picks(seed), seed, slots=slots, report=report).waits
    return sorted(waits)[int(len(waits) * 0.95)]


def test_least_load_is_within_a_fifth_of_an_oracle() -> None:
    """One that knows every queue and every speed, and minimises the time to the first token."""
    best = p95(lambda seed: [fleet.oracle])
    assert p95(lambda seed: [router("least-load", seed)]) < 1.2 * best
    assert p95(lambda seed: [router("least-load", seed)], report=1.0) < 1.2 * best


def test_least_load_beats_an_oracle_that_minimises_the_wait_in_the_queue() -> None:
    """As it prefers the faster of those without a queue."""
    for seed in SEEDS:
        ours = simulate([router("least-load", seed)], seed).p95()
        assert ours < simulate([fleet.shortest_wait], seed).p95()


@pytest.mark.parametrize("slots", [1, 2, 8, 16])
def test_how_many_a_server_takes_at_a_time_matters_little(slots: int) -> None:
    seeds = range(4)
    best = p95(lambda seed: [fleet.oracle], seeds=seeds, slots=slots)
    ours = p95(lambda seed: [router("least-load", seed)], seeds=seeds, slots=slots)
    assert ours < 1.3 * best


@pytest.mark.parametrize("relays", [2, 4])
def test_relays_that_see_the_same_old_reports_do_not_run_to_one_server(relays: int) -> None:
    """Reports of a second ago must not do harm, and two at random would be much worse."""
    seeds = range(4)
    each = range(relays)
    without = p95(lambda seed: [router("least-load", seed * 9 + n) for n in each], seeds=seeds)
    told = p95(
        lambda seed: [router("least-load", seed * 9 + n) for n in each], seeds=seeds, report=1.0
    )
    at_random = p95(
        lambda seed: [fleet.two_at_random(seed * 9 + n) for n in each], seeds=seeds, report=1.0
    )
    assert told < 1.1 * without
    assert told < 0.8 * at_random


def test_two_at_random_wait_longer_than_the_least_loaded_of_all() -> None:
    seeds = range(4)
    ours = p95(lambda seed: [router("least-load", seed)], seeds=seeds)
    assert p95(lambda seed: [fleet.two_at_random(seed)], seeds=seeds) > 1.7 * ours


def test_latency_beats_round_robin_by_far() -> None:
    """Which gives the slowest servers more than they can do."""
    seeds = range(4)
    ours = p95(lambda seed: [router("latency", seed)], seeds=seeds)
    assert ours < 0.05 * p95(lambda seed: [fleet.in_turn()], seeds=seeds)
    assert ours < 2.5 * p95(lambda seed: [fleet.oracle], seeds=seeds)


@pytest.mark.parametrize("turns", [5, 20])
def test_sticky_keeps_conversations_in_place_without_a_hot_spot(turns: int) -> None:
    for seed in range(3):
        run = talked(seed, turns)
        assert run.stayed / (run.stayed + run.moved) >= 0.95
        # Four are worked on at a time: nobody has more than a few behind them in the queue.
        assert max(server.most for server in run.servers) <= 3 * fleet.SLOTS
        assert run.p95() < 0.25 * unbounded(seed, turns).p95()


def talked(seed: int, turns: int) -> Run:
    return simulate([router("sticky", seed)], seed, requests=8000, turns=turns)


def unbounded(seed: int, turns: int) -> Run:
    """Hashing alone, which gives a slow server as many conversations as a fast one."""

    def pick(members: Sequence[fleet.Member], key: int | None) -> fleet.Member:
        assert key is not None
        return members[key % len(members)]

    return simulate([pick], seed, requests=8000, turns=turns)
