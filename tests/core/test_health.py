"""What a server's state is after probes and requests, without a server."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from h2o_relay import health as module
from h2o_relay.entry import Entry
from h2o_relay.errors import (
    FirstByteTimeout,
    InvalidRequest,
    Overloaded,
    PluginError,
    RateLimited,
    RelayError,
    UnknownURL,
    UpstreamAuthError,
    UpstreamBadResponse,
    UpstreamRedirect,
    UpstreamRejected,
    UpstreamResponseTooLarge,
    UpstreamTimeout,
    UpstreamUnavailable,
    UpstreamUnreachable,
    from_response,
)
from h2o_relay.health import Health
from h2o_relay.types import Load, Server

FAILED = UpstreamBadResponse("no")
REFUSED = UpstreamAuthError("the key is refused")


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    fake = SimpleNamespace(monotonic=clock.monotonic, time=time.time)
    monkeypatch.setattr(module, "time", fake)
    return clock


@pytest.fixture
def entry(clock: Clock) -> Entry:
    """One that was looked at and is well."""
    made = Entry(Server(plugin="plain", url="http://h/v1"), stage="ready", listed=True)
    made.health.probed(0.01)
    return made


def state(entry: Entry, clock: Clock) -> str:
    return entry.state(clock.now)[0]


def broken(health: Health, times: int = 5) -> Health:
    for _ in range(times):
        health.ended(FAILED)
    return health


class TestRequests:
    def test_failures_in_a_row(self, entry: Entry, clock: Clock) -> None:
        broken(entry.health, 4)
        assert state(entry, clock) == "healthy"
        entry.health.ended(FAILED)
        assert entry.state(clock.now) == ("offline", "requests have failed one after another: no")
        assert not entry.health.allows(clock.now)
        clock.now += 3
        assert state(entry, clock) == "unknown"
        assert entry.health.breaker.enter(clock.now)
        entry.health.ended(None)
        assert state(entry, clock) == "healthy"
        assert not entry.health.troubled

    @pytest.mark.parametrize(
        "error", [UpstreamUnreachable("x"), FirstByteTimeout("x"), PluginError("x"),
                  from_response(500, b""), from_response(503, b""), from_response(504, b"")],
        ids=lambda error: type(error).__name__,
    )  # fmt: skip
    def test_what_is_its_failure(self, error: RelayError, entry: Entry, clock: Clock) -> None:
        for _ in range(5):
            entry.health.ended(error)
        assert state(entry, clock) == "offline"

    @pytest.mark.parametrize(
        "error", [UpstreamRejected(400, {}), from_response(404, b"{}"), UpstreamRedirect("x"),
                  UpstreamResponseTooLarge("x")],
        ids=lambda error: type(error).__name__,
    )  # fmt: skip
    def test_words_of_the_server_show_that_it_is_there(
        self, error: RelayError, entry: Entry, clock: Clock
    ) -> None:
        broken(entry.health)
        clock.now += 3
        assert entry.health.breaker.enter(clock.now)
        entry.health.ended(error)
        assert state(entry, clock) == "healthy"

    @pytest.mark.parametrize(
        "error", [InvalidRequest("ours"), UnknownURL("ours"), Overloaded("ours"),
                  UpstreamTimeout("the caller's"), asyncio.CancelledError(), GeneratorExit()],
        ids=lambda error: type(error).__name__,
    )  # fmt: skip
    def test_what_shows_nothing_gives_the_turn_back(
        self, error: BaseException, entry: Entry, clock: Clock
    ) -> None:
        broken(entry.health)
        clock.now += 3
        assert entry.health.breaker.enter(clock.now)
        assert not entry.health.allows(clock.now)
        entry.health.ended(error)
        assert state(entry, clock) == "unknown", "nothing was sent: it is not known to be well"
        assert entry.health.allows(clock.now), "the next request is the trial"

    def test_the_first_piece_ends_a_trial(self, entry: Entry, clock: Clock) -> None:
        """The rest may take minutes, in which others would not be let through."""
        health = broken(entry.health)
        clock.now += 3
        assert health.breaker.enter(clock.now)
        health.began()
        assert state(entry, clock) == "healthy"
        assert health.allows(clock.now)

    def test_first_pieces_do_not_hide_failures(self, entry: Entry, clock: Clock) -> None:
        for _ in range(5):
            entry.health.began()
            entry.health.ended(FAILED)
        assert state(entry, clock) == "offline"

    def test_it_tells_of_changes(self, entry: Entry) -> None:
        told: list[str] = []
        entry.health.tell(lambda: told.append("!"))
        entry.health.ended(None)
        entry.health.ended(InvalidRequest("ours"))
        assert told == []
        entry.health.ended(FAILED)
        entry.health.ended(REFUSED)
        entry.health.ended(RateLimited("slowly"))
        entry.health.ended(None)
        assert len(told) == 4

    def test_the_last_error_is_kept(self, entry: Entry) -> None:
        entry.health.ended(FAILED)
        entry.health.ended(None)
        assert entry.health.last_error == "no"
        assert abs((entry.health.last_error_at or 0) - time.time()) < 5


class TestRateLimits:
    @pytest.mark.parametrize(("told", "seconds"), [(None, 1.0), (5.0, 5.0), (900.0, 60.0)])
    def test_a_pause(self, told: float | None, seconds: float, entry: Entry, clock: Clock) -> None:
        entry.health.ended(RateLimited("slowly", retry_after=told))
        found, why = entry.state(clock.now)
        assert (found, why) == (
            "rate-limited",
            f"it limits the rate: slowly ({seconds:.0f} s left)",
        )
        assert entry.health.allows(clock.now)
        clock.now += seconds
        assert state(entry, clock) == "healthy"

    def test_an_answer_ends_it(self, entry: Entry, clock: Clock) -> None:
        entry.health.ended(RateLimited("slowly", retry_after=50))
        entry.health.ended(None)
        assert state(entry, clock) == "healthy"

    def test_of_a_probe(self, entry: Entry, clock: Clock) -> None:
        entry.health.unanswered(RateLimited("slowly", retry_after=5))
        assert state(entry, clock) == "rate-limited"

    def test_one_that_is_gone_is_offline(self, entry: Entry, clock: Clock) -> None:
        entry.health.ended(RateLimited("slowly", retry_after=50))
        entry.stage = "offline"
        entry.health.unanswered(UpstreamUnreachable("gone"))
        assert state(entry, clock) == "offline"


class TestRefusedKeys:
    def test_by_requests(self, entry: Entry, clock: Clock) -> None:
        entry.reason = "its prompt type is not used"
        entry.health.ended(REFUSED)
        assert entry.state(clock.now) == ("auth-error", "the key is refused")
        entry.health.ended(None)
        assert state(entry, clock) == "healthy"

    def test_an_answered_probe_does_not_show_that_the_key_works(
        self, entry: Entry, clock: Clock
    ) -> None:
        """llama.cpp and vLLM behind some proxies list their models to anybody."""
        entry.health.ended(REFUSED)
        entry.health.probed(0.01)
        assert entry.state(clock.now) == (
            "unknown", "the key is refused; the next request will show"
        )  # fmt: skip
        entry.health.ended(REFUSED)
        assert state(entry, clock) == "auth-error"
        entry.health.probed(0.01)
        entry.health.began()
        assert state(entry, clock) == "healthy"

    def test_of_probes_end_with_a_probe(self, entry: Entry, clock: Clock) -> None:
        entry.health.ended(REFUSED)
        entry.stage = "offline"
        entry.health.unanswered(REFUSED)
        assert state(entry, clock) == "auth-error"
        entry.stage = "ready"
        entry.health.probed(0.01)
        assert state(entry, clock) == "healthy", "its list needs the key"


class TestProbes:
    def test_one_that_is_back_gets_a_trial_at_once(self, entry: Entry, clock: Clock) -> None:
        health = broken(entry.health)
        health.unanswered(UpstreamUnreachable("gone"))
        clock.now += 0.5
        health.probed(0.01)
        assert health.allows(clock.now)

    def test_one_that_lists_models_and_fails_requests_is_left_alone(
        self, entry: Entry, clock: Clock
    ) -> None:
        """Its failures have it looked at twice a second, which must not void the breaker."""
        health = broken(entry.health)
        clock.now += 0.5
        health.probed(0.01)
        assert not health.allows(clock.now)
        clock.now += 2.5
        assert health.breaker.enter(clock.now)
        health.ended(FAILED)  # open for six seconds
        clock.now += 3
        health.probed(0.01)
        assert health.allows(clock.now), "it may have been mended between"

    def test_a_probe_does_not_give_a_second_trial(self, entry: Entry, clock: Clock) -> None:
        health = broken(entry.health)
        clock.now += 3
        assert health.breaker.enter(clock.now)
        health.probed(0.01)
        assert not health.allows(clock.now)

    def test_loading(self, entry: Entry, clock: Clock) -> None:
        loading = UpstreamUnavailable("loading")
        loading.upstream_status = 503
        entry.stage, entry.reason = "offline", "loading"
        entry.health.unanswered(loading)
        assert entry.state(clock.now) == ("warming", "loading")
        entry.health.unanswered(UpstreamUnreachable("gone"))
        assert state(entry, clock) == "offline"

    def test_its_own_word(self, entry: Entry, clock: Clock) -> None:
        entry.health.reported(Load(running=3, waiting=1), 2)
        assert state(entry, clock) == "busy"
        entry.health.reported(None, 0)
        assert state(entry, clock) == "healthy"

    def test_draining_goes_before_all(self, entry: Entry, clock: Clock) -> None:
        entry.health.ended(REFUSED)
        entry.health.draining = True
        assert state(entry, clock) == "draining"


def test_since_is_when_it_changed(entry: Entry, clock: Clock) -> None:
    assert state(entry, clock) == "healthy"
    entry.since = 5.0
    assert state(entry, clock) == "healthy"
    assert entry.since == 5.0
    entry.health.tell(entry.shifted)
    entry.health.ended(REFUSED)
    assert abs(entry.since - time.time()) < 5, "as it happens, and not as somebody looks"


def test_a_server_that_fails_is_to_be_looked_at() -> None:
    entry = Entry(Server(plugin="plain", url="http://h/v1"), stage="ready", listed=True)
    entry.health.tell(entry.shifted)
    entry.health.ended(REFUSED)
    assert not entry.nudged.is_set()
    entry.health.ended(FAILED)
    assert entry.nudged.is_set()
