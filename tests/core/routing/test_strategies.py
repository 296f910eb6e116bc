"""Each strategy by its rule, and who is in question at all."""

import random
from collections import Counter
from typing import Any

import pytest

from h2o_relay.pools import STRATEGIES, PoolSpec
from h2o_relay.routing import REASONS, Router

from .fleet import Member, Server


def pool(*names: str, strategy: str = "least-load", **more: Any) -> tuple[Router, list[Member]]:
    spec = PoolSpec(name="pool", members=names, strategy=strategy, **more)  # type: ignore[arg-type]
    return Router(spec, random.Random(1)), [
        Member(Server(name, 1.0, [0.0]), name) for name in names
    ]


def picked(router: Router, members: list[Member], key: int | None = None) -> str:
    chosen = router.choose(members, key)
    return "nobody" if chosen is None else chosen.member.name


def counted(router: Router, members: list[Member], times: int) -> Counter[str]:
    return Counter(picked(router, members, key) for key in range(times))


# Who is in question, and why.


def test_every_reason_that_is_given_is_explained() -> None:
    rng = random.Random(1)
    given = set()
    for strategy in STRATEGIES:
        for spill_over in (None, 2):
            more = {"spill_over": spill_over} if strategy == "priority" else {}
            router, members = pool("a", "b", "c", strategy=strategy, **more)
            if strategy == "weighted":
                router, members = pool("a", "b", "c", strategy=strategy, weights={"a": 0})
            for _ in range(500):
                for member in members:
                    member.usable = rng.random() < 0.7
                    member.in_flight = rng.randrange(6)
                    member.loaded = rng.choice([None, True, False])
                some = members[: rng.randrange(1, 4)]
                chosen = router.choose(some, rng.choice([None, rng.randrange(20)]))
                if chosen is not None:
                    given.add(chosen.reason)
    assert given == set(REASONS)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_only_usable_members_with_room_are_asked(strategy: str) -> None:
    router, members = pool("a", "b", "c", "d", strategy=strategy)
    a, b, c, d = members
    a.usable = False
    b.in_flight = b.limit = 2
    c.degraded = True
    assert {picked(router, members, key) for key in range(50)} == {"d"}
    excluded = router.choose(members, 1, [d])
    assert excluded is None  # b is full, and worth waiting for
    b.usable = False
    assert picked(router, [a, b, c]) == "c"  # rather than nobody
    c.usable = False
    assert picked(router, [a, b, c]) == "nobody"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_member_needs_no_reason(strategy: str) -> None:
    router, members = pool("a", strategy=strategy)
    assert router.choose(members, 1) == (members[0], "only-member")


# least-load


def test_the_least_loaded_then_the_faster() -> None:
    router, (a, b, c) = pool("a", "b", "c")
    a.in_flight, b.in_flight, c.in_flight = 2, 1, 1
    b.latency, c.latency = 0.5, 0.1
    assert picked(router, [a, b, c]) == "c"
    c.in_flight = 2
    assert picked(router, [a, b, c]) == "b"


def test_equals_are_used_equally() -> None:
    for strategy in ("least-load", "latency"):
        router, members = pool("a", "b", "c", "d", strategy=strategy)
        assert min(counted(router, members, 400).values()) > 70


def test_what_others_send_counts_where_servers_report_it() -> None:
    router, (a, b) = pool("a", "b")
    a.reported, a.in_flight, a.reported_at_in_flight = 5.0, 1, 1  # four of others
    b.in_flight = 3
    assert picked(router, [a, b]) == "b"
    a.reported = 1.0
    for age in range(1, 20):  # one report is not believed alone
        a.reported = 1.0 + age * 1e-9
        picked(router, [a, b])
    assert picked(router, [a, b]) == "a"


def test_a_report_is_corrected_by_what_was_sent_since() -> None:
    router, (a, b) = pool("a", "b")
    a.reported, a.reported_at_in_flight, a.in_flight = 2.0, 2, 5
    b.in_flight = 4
    assert picked(router, [a, b]) == "b"
    a.in_flight = 0
    assert picked(router, [a, b]) == "a"


def test_a_member_that_was_slow_once_is_tried_again() -> None:
    router, (a, b) = pool("a", "b")
    a.latency, b.latency = 30.0, 0.3
    tries = [picked(router, [a, b]) for _ in range(400)]
    assert 1 <= tries.count("a") <= 8
    assert tries[0] == "b"


# latency


def test_latency_prefers_the_fast_and_tries_the_slow_again() -> None:
    router, (a, b) = pool("a", "b", strategy="latency")
    a.latency, b.latency = 0.1, 1.0
    found = counted(router, [a, b], 1000)
    assert 3 <= found["b"] <= 30
    a.in_flight = 10  # ten are there: one second more than at b
    assert picked(router, [a, b]) == "b"


def test_a_member_that_nobody_knows_is_tried_at_once_but_not_by_all() -> None:
    router, (a, b) = pool("a", "b", strategy="latency")
    a.latency, a.in_flight = 0.1, 1
    assert picked(router, [a, b]) == "b"
    b.in_flight = 2
    assert picked(router, [a, b]) == "a"


# weighted


def test_weights_are_kept_smoothly() -> None:
    router, members = pool("a", "b", "c", strategy="weighted", weights={"a": 5, "b": 1, "c": 1})
    assert [picked(router, members) for _ in range(7)] == list("aabacaa")
    assert counted(router, members, 700) == {"a": 500, "b": 100, "c": 100}


def test_a_weight_may_be_given_by_the_member_s_place() -> None:
    spec = PoolSpec(name="p", members=(0, 3), strategy="weighted", weights={"3": 3.0})
    members = [Member(Server(name, 1.0, [0.0]), name) for name in ("x", "y")]
    assert counted(Router(spec), members, 100) == {"x": 25, "y": 75}


def test_a_member_without_weight_is_the_reserve() -> None:
    router, (a, b) = pool("a", "b", strategy="weighted", weights={"a": 1, "b": 0})
    assert counted(router, [a, b], 10) == {"a": 10}
    a.usable = False
    assert router.choose([a, b]) == (b, "reserve")


def test_a_member_that_was_away_does_not_catch_up() -> None:
    router, (a, b) = pool("a", "b", strategy="weighted")
    b.usable = False
    assert counted(router, [a, b], 100) == {"a": 100}
    b.usable = True
    assert counted(router, [a, b], 10) == {"a": 5, "b": 5}


# priority


def test_the_preferred_member_is_used_until_it_spills_over() -> None:
    router, (a, b, c) = pool("a", "b", "c", strategy="priority", spill_over=2)
    members = [a, b, c]
    assert router.choose(members) == (a, "priority")
    a.in_flight = 2
    assert router.choose(members) == (b, "spill-over")
    b.in_flight = c.in_flight = 2
    c.in_flight = 3
    a.in_flight = 4
    assert router.choose(members) == (b, "all-spilled-over")
    a.usable, b.in_flight = False, 1
    assert router.choose(members) == (b, "preferred-is-away")


def test_without_a_number_its_own_limit_counts() -> None:
    router, (a, b) = pool("a", "b", strategy="priority")
    a.in_flight = 50
    assert router.choose([a, b]) == (a, "priority")
    a.limit = 50
    assert router.choose([a, b]) == (b, "spill-over")


# sticky


def test_a_conversation_stays_and_conversations_are_spread() -> None:
    router, members = pool(*"abcdefgh", strategy="sticky")
    homes = {key: picked(router, members, key * 2**40) for key in range(800)}
    assert all(60 < number < 145 for number in Counter(homes.values()).values())
    assert all(picked(router, members, key * 2**40) == home for key, home in homes.items())
    again, same = pool(*"abcdefgh", strategy="sticky")  # another process finds the same homes
    assert all(picked(again, same, key * 2**40) == home for key, home in homes.items())


def test_without_a_member_its_conversations_alone_move() -> None:
    keys = range(500)
    router, members = pool(*"abcde", strategy="sticky")
    homes = {key: picked(router, members, key) for key in keys}
    fewer, rest = pool(*"abcd", strategy="sticky")
    now = {key: picked(fewer, rest, key) for key in keys}
    assert {homes[key] for key in keys if now[key] != homes[key]} == {"e"}
    assert len({now[key] for key in keys if homes[key] == "e"}) == 4


def test_a_hot_spot_loses_conversations_and_begins_none() -> None:
    router, members = pool("a", "b", "c", "d", strategy="sticky")
    key = next(key for key in range(100) if picked(router, members, key) == "a")
    new = next(
        key for key in range(100, 200)
        if picked(pool(*"abcd", strategy="sticky")[0], members, key) == "a"
    )  # fmt: skip
    for member in members:
        member.in_flight = 4
    members[0].in_flight = 6
    assert router.choose(members, key) == (members[0], "sticky")  # the average is 4.75
    assert picked(router, members, new) != "a"
    members[0].in_flight = 8
    chosen = router.choose(members, key)
    assert chosen is not None
    assert chosen.reason == "sticky-moved"
    members[0].in_flight = 0
    assert router.choose(members, key) == (chosen.member, "sticky")  # its cache is there now


def test_without_a_key_the_least_loaded_answers() -> None:
    router, (a, b) = pool("a", "b", strategy="sticky")
    a.in_flight = 1
    assert router.choose([a, b]) == (b, "no-session")


# warm-first


def test_a_server_that_has_the_model_in_memory_comes_first() -> None:
    router, (a, b, c) = pool("a", "b", "c", strategy="warm-first")
    a.loaded, b.loaded, b.in_flight = False, True, 5
    assert router.choose([a, b, c]) == (b, "warm")
    b.limit = 5
    assert router.choose([a, b, c]) == (c, "warm-unknown")
    c.usable = False
    assert router.choose([a, b, c]) == (a, "cold")


# explain


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_explaining_changes_nothing_and_tells_what_would_be_chosen(strategy: str) -> None:
    router, members = pool("a", "b", "c", "d", strategy=strategy)
    members[1].usable = False
    members[2].in_flight = members[2].limit = 1
    members[3].degraded = True
    for key in range(20):
        members[0].in_flight += 1
        rows = {row["member"]: row for row in router.explain(members, key)}
        assert rows["a"]["chosen"]
        assert rows["a"]["in_question"]
        assert rows["b"]["why"] == "cannot be asked now"
        assert rows["c"]["why"] == "has as many requests as it may"
        assert rows["d"]["why"] == "limits the rate or has just failed, and others are there"
        told = [router.explain(members, key) for _ in range(2)]
        assert told[0] == told[1]
        chosen = router.choose(members, key)
        assert chosen is not None
        assert rows["a"]["why"] == chosen.reason


def test_explaining_where_nobody_can_answer() -> None:
    router, members = pool("a", "b")
    members[0].usable = members[1].usable = False
    assert [row["chosen"] for row in router.explain(members)] == [False, False]
