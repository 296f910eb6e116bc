"""What is tried again, where, after how long, and how often in all."""

import random

import pytest

from h2o_relay import errors
from h2o_relay.errors import RelayError, error_tree, from_error_object, from_response
from h2o_relay.retrying import Budget, again, delay, elsewhere, is_retryable, unsent, wait_before

AGAIN = {
    errors.UpstreamUnreachable, errors.UpstreamDisconnected, errors.ConnectTimeout,
    errors.UpstreamUnavailable, errors.RateLimited,
}  # fmt: skip
ELSEWHERE = {
    errors.UpstreamDNSError, errors.UpstreamTLSError, errors.UpstreamAuthError,
    errors.UpstreamRedirect, errors.UpstreamUnidentified,
}  # fmt: skip


def made(cls: type[RelayError]) -> RelayError:
    if cls is errors.UpstreamRejected:
        return errors.UpstreamRejected(400, {"message": "no"})
    if cls is errors.MethodNotAllowed:
        return errors.MethodNotAllowed("no", allow="GET")
    return cls("no")


def ours() -> list[type[RelayError]]:
    return [cls for cls in error_tree() if cls.__module__ == errors.__name__]


@pytest.mark.parametrize("cls", ours(), ids=lambda cls: cls.__name__)
def test_every_error_is_decided(cls: type[RelayError]) -> None:
    error = made(cls)
    assert again(error) == (cls in AGAIN)
    assert elsewhere(error) == (cls in AGAIN | ELSEWHERE)
    assert is_retryable(error) == elsewhere(error)
    assert not unsent(error) or elsewhere(error)


@pytest.mark.parametrize("status", [502, 503, 504, 529])
def test_statuses_that_are_tried_again(status: int) -> None:
    assert again(from_response(status, b"<html>Bad Gateway</html>"))
    assert again(from_error_object({"code": status, "message": "no"}))


@pytest.mark.parametrize("status", [400, 402, 404, 408, 409, 413, 422, 500, 501, 507])
def test_statuses_that_are_not(status: int) -> None:
    error = from_response(status, b'{"error": {"message": "no"}}')
    assert error.upstream_status == status
    assert not is_retryable(error)
    assert not is_retryable(from_error_object({"code": status, "message": "no"}))


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_tried_elsewhere_alone(status: int) -> None:
    error = from_response(status, b"")
    assert elsewhere(error)
    assert wait_before(error, 1, random.random) is None


def test_a_limit_on_the_whole_answer_is_not_the_server_s_504() -> None:
    assert is_retryable(from_response(504, b""))
    assert not is_retryable(errors.UpstreamTimeout("the answer took too long"))


def test_the_server_is_believed_when_it_says_how_long() -> None:
    def wait(error: RelayError) -> float | None:
        return wait_before(error, 1, lambda: 1.0)

    assert wait(from_response(429, b"", retry_after=1)) == pytest.approx(1.05)
    assert wait(from_response(503, b"", retry_after=0)) == pytest.approx(0.05)
    assert wait(from_response(429, b"", retry_after=99999)) is None
    assert wait(from_response(503, b"", retry_after=5)) is None
    assert wait(from_response(503, b"")) == pytest.approx(0.05)
    assert wait(from_response(429, b"")) is None


def test_what_was_never_sent() -> None:
    assert unsent(errors.UpstreamUnreachable("no"))
    assert unsent(errors.UpstreamDNSError("no"))
    assert not unsent(errors.ConnectTimeout("it took five seconds"))
    assert not unsent(errors.UpstreamDisconnected("it may have begun"))


def test_delays_double_with_full_jitter() -> None:
    rng = random.Random(1)
    for attempt, most in ((1, 0.05), (2, 0.1), (3, 0.2), (5, 0.8), (6, 1.0), (5000, 1.0)):
        drawn = [delay(attempt, rng.random) for _ in range(500)]
        assert max(drawn) <= most
        assert max(drawn) > 0.9 * most
        assert min(drawn) < 0.1 * most


def test_three_retries_may_always_run() -> None:
    budget = Budget()
    assert [budget.take(0.0, 0) for _ in range(4)] == [True, True, True, False]
    budget.done()
    assert budget.take(0.0, 0)


def test_a_fifth_of_the_active_requests_may_be_retries() -> None:
    budget = Budget()
    for _ in range(1000):
        budget.started(0.0)
    taken = 0
    while budget.take(0.0, 100):
        taken += 1
    assert taken == 20


def test_a_storm_grows_by_a_fifth_however_fast_retries_fail() -> None:
    budget, retries = Budget(), 0
    for number in range(3000):
        now = number / 100  # a hundred requests a second, half a minute
        budget.started(now)
        for _ in range(2):
            if budget.take(now, 50):
                retries += 1
                budget.done()  # refused at once
    assert 500 <= retries <= 600 + 30  # those that are always allowed, before there are requests


def test_what_was_spent_comes_back_with_time() -> None:
    budget = Budget()

    def spend(now: float) -> int:
        count = 0
        while budget.take(now, 0):
            budget.done()
            count += 1
        return count

    assert spend(0.0) == 30
    assert spend(9.0) == 0
    assert spend(11.0) == 30
    assert spend(1000.0) == 30
