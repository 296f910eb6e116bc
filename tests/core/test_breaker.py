"""The circuit breaker, with times as it is told them."""

import pytest

from h2o_relay.breaker import Breaker


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(5):
        assert breaker.enter(now)
        breaker.failed(now)
    assert breaker.is_open
    return breaker


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = Breaker(failures=3)
    for now in range(20):  # never three in a row
        breaker.failed(now)
        breaker.failed(now)
        breaker.succeeded(now)
    assert breaker.state(20) == "closed"
    for _ in range(3):
        assert breaker.allows(20)
        breaker.failed(20)
    assert breaker.state(20) == "open"
    assert not breaker.allows(20)
    assert not breaker.enter(20)
    assert breaker.left(21) == pytest.approx(2)


def test_after_a_while_one_request_at_a_time_is_a_trial() -> None:
    breaker = opened(0.0)
    assert not breaker.allows(2.9)
    assert breaker.state(3.0) == "half-open"
    assert breaker.allows(3.0)
    assert breaker.allows(3.0)  # looking takes nothing
    assert breaker.enter(3.0)
    assert not breaker.allows(3.1)
    assert not breaker.enter(100.0)
    breaker.succeeded(3.2)
    assert breaker.state(3.2) == "closed"
    assert breaker.enter(3.2)
    assert breaker.enter(3.2)
    assert breaker.left(3.2) == 0


def test_each_trial_that_fails_opens_it_for_longer() -> None:
    breaker, now, periods = opened(), 0.0, []
    for _ in range(7):
        periods.append(breaker.left(now))
        now += breaker.left(now)
        assert breaker.enter(now)
        breaker.failed(now)
    assert periods == [3, 6, 12, 24, 48, 60, 60]


def test_a_cancelled_trial_gives_the_turn_back() -> None:
    breaker = opened()
    assert breaker.enter(3.0)
    breaker.abandoned()
    assert breaker.enter(3.1)
    breaker.failed(3.2)
    breaker.abandoned()  # of nothing
    assert not breaker.allows(3.3)


def test_a_probe_that_is_answered_makes_the_next_request_the_trial() -> None:
    breaker = opened()
    breaker.answered(0.5)
    assert breaker.state(0.5) == "half-open"
    assert breaker.enter(0.5)
    breaker.answered(0.6)
    assert not breaker.enter(0.6)  # one at a time all the same
    breaker.succeeded(0.7)
    breaker.answered(0.8)
    assert breaker.state(0.8) == "closed"


def test_failures_that_began_before_it_opened_do_not_count_again() -> None:
    breaker = opened(0.0)
    for _ in range(95):  # of a hundred that were waiting when the server died
        breaker.failed(0.1)
    assert breaker.left(0.1) == pytest.approx(2.9)
    assert breaker.enter(3.0)


def test_an_answer_closes_it_whenever_it_began() -> None:
    breaker = opened()
    breaker.succeeded(0.5)
    assert not breaker.is_open
    assert breaker.allows(0.5)


def test_a_server_that_opens_it_again_and_again_is_left_alone_for_longer() -> None:
    breaker = opened(0.0)
    assert breaker.enter(3.0)
    breaker.succeeded(3.0)
    for _ in range(5):
        breaker.failed(4.0)
    assert breaker.left(4.0) == 6
    assert breaker.enter(10.0)
    breaker.succeeded(10.0)
    for _ in range(5):  # it was well for longer than the longest period
        breaker.failed(80.0)
    assert breaker.left(80.0) == 3


def test_one_failure_makes_others_the_better_choice_for_a_moment() -> None:
    breaker = Breaker()
    assert not breaker.failing(0.0)
    breaker.failed(10.0)
    assert breaker.failing(10.5)
    assert not breaker.failing(11.0)
    breaker.failed(12.0)
    breaker.succeeded(12.1)
    assert not breaker.failing(12.2)
