"""Attempts to sign in are slowed down, and nobody is locked out by somebody else."""

from __future__ import annotations

import pytest

from h2o_relay_ui.signin import attempts
from h2o_relay_ui.signin.attempts import (
    FORGOTTEN,
    FREE_FOR_ADDRESS,
    FREE_FOR_NAME,
    LONGEST,
    Attempts,
    network,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(clock: Clock) -> Attempts:
    return Attempts(clock)


def tried(desk: Attempts, clock: Clock, seconds: float, name: str, address: str) -> int:
    """How many passwords somebody who never stops can try in so many seconds."""
    count, end = 0, clock.now + seconds
    while clock.now < end:
        if desk.begin(name, address) == 0:
            count += 1
        clock.now += 0.25
    return count


def test_the_first_failures_are_free_and_then_it_doubles(desk: Attempts, clock: Clock) -> None:
    assert [desk.begin("ann", "10.0.0.1") for _ in range(FREE_FOR_NAME)] == [0] * FREE_FOR_NAME
    waits = []
    for _ in range(8):
        wait = desk.begin("ann", "10.0.0.1")
        waits.append(wait)
        clock.now += wait
        assert desk.begin("ann", "10.0.0.1") == 0
    assert waits == [1, 2, 4, 8, 16, 32, LONGEST, LONGEST]


def test_many_at_once_are_many(desk: Attempts) -> None:
    answers = [desk.begin("ann", f"10.0.{n}.1") for n in range(200)]
    assert answers.count(0) == FREE_FOR_NAME


def test_a_name_is_guessed_slowly_from_anywhere(desk: Attempts, clock: Clock) -> None:
    assert tried(desk, clock, 3600, "ann", "10.0.0.1") < 100


def test_an_address_tries_few_names(desk: Attempts, clock: Clock) -> None:
    answers = [desk.begin(f"user{n}", "10.0.0.1") for n in range(500)]
    assert answers.count(0) == FREE_FOR_ADDRESS
    assert desk.begin("ann", "10.0.0.2") == 0


def test_what_is_right_costs_nothing(desk: Attempts) -> None:
    for n in range(300):
        assert desk.begin(f"user{n}", "10.0.0.1") == 0
        desk.succeeded(f"user{n}", "10.0.0.1")


def test_accounts_that_are_made_do(desk: Attempts) -> None:
    answers = []
    for n in range(100):
        answers.append(desk.begin(f"user{n}", "10.0.0.1"))
        if answers[-1] == 0:
            desk.succeeded(f"user{n}", "10.0.0.1", free=False)
    assert answers.count(0) == FREE_FOR_ADDRESS


def test_who_was_there_before_is_not_locked_out(desk: Attempts, clock: Clock) -> None:
    assert desk.begin("ann", "10.0.0.1") == 0
    desk.succeeded("ann", "10.0.0.1")
    for n in range(300):
        desk.begin("ann", f"172.16.{n % 250}.9")
    assert desk.begin("ann", "172.16.1.9") > 0
    assert desk.begin("ann", "10.0.0.1") == 0
    desk.succeeded("ann", "10.0.0.1")
    assert desk.begin("ann", "172.16.1.9") > 0, "nor does that open it to others"


def test_failures_are_forgotten(desk: Attempts, clock: Clock) -> None:
    for _ in range(FREE_FOR_NAME):
        desk.begin("ann", "10.0.0.1")
    assert desk.begin("ann", "10.0.0.1") > 0
    clock.now += FORGOTTEN + 1
    assert [desk.begin("ann", "10.0.0.1") for _ in range(FREE_FOR_NAME)] == [0] * FREE_FOR_NAME


def test_what_is_remembered_is_bounded(desk: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "KEPT", 50)
    for n in range(1000):
        desk.begin(f"user{n}", f"10.1.{n // 250}.{n % 250}")
        desk.succeeded(f"user{n}", f"10.1.{n // 250}.{n % 250}")
    assert len(desk._counts) <= 50
    assert len(desk._seen) <= 50


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("fe80::1%eth0", "fe80::1", True),
        ("unix:", "unix:", True),
        ("", "", True),
    ],
)
def test_whoever_has_an_ipv6_address_has_a_network(one: str, other: str, same: bool) -> None:
    assert (network(one) == network(other)) is same
