"""`h2o route explain`: what is asked of the relay, and what people and programs read of it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from h2o_relay.cli import main
from h2o_relay.commands import route
from h2o_relay.pools import PoolSpec
from h2o_relay.testing.scripts import json as answer

from .identify_servers import Background
from .running_relay import ADMIN, KEY, Relay, Running

H2O = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, no_settings: None) -> None:
    monkeypatch.delenv("H2O_URL", raising=False)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> H2O:
    def run(*words: str) -> tuple[int, str, str]:
        code = main(["route", *words])
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    """Two servers that answer and one that is away, and pools of them."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"plain:127.0.0.1:{unused.getsockname()[1]}"
        pools = [
            PoolSpec(name="big", members=("a", "b", "away"), strategy="priority", fallback="a"),
            PoolSpec(name="none", members=("away", "unheard-of")),
        ]
        with Running("echo:a", "echo:b", (dead, "away"), pools=pools) as found:
            yield found


def test_a_pool_is_explained_member_by_member(call: H2O, relay: Relay) -> None:
    code, out, err = call("explain", "big", "--url", relay.url, "--key", ADMIN)
    told, shown = out.split("\n\n")
    assert (code, err) == (0, "")
    assert told.splitlines() == [
        "big is a pool, strategy priority.",
        "a would be asked: priority.",
        "Where no member can answer, a does.",
    ]
    head, a, b, away = shown.splitlines()
    assert head.split() == [word for name in route.COLUMNS for word in name.split()]
    assert a.split()[:3] == ["a", "healthy", "yes"]
    assert b.split()[:4] == ["b", "healthy", "could", "be"]
    assert away.split()[:3] == ["away", "offline", "no"]
    assert "cannot be asked now: the upstream server could not be reached" in away
    assert "echo:a" in a


def test_programs_get_it_as_the_relay_says_it(
    call: H2O, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMIN_PASS", ADMIN)
    monkeypatch.setenv("H2O_URL", f"{relay.url}/v1/")
    code, out, _ = call("explain", "big", "--json")
    found = json.loads(out)
    assert (code, found["model"], found["pool"], found["strategy"]) == (0, "big", True, "priority")
    assert [row["member"] for row in found["members"]] == ["a", "b", "away"]
    assert [row["chosen"] for row in found["members"]] == [True, False, False]


def test_nobody_who_can_be_asked(call: H2O, relay: Relay) -> None:
    code, out, _ = call("explain", "none", "--url", relay.url, "--key", ADMIN)
    assert code == 0
    assert out.splitlines()[1:3] == [
        "No member can be asked now.", "Not there (yet): unheard-of."
    ]  # fmt: skip


def test_a_single_model_is_explained_too(call: H2O, relay: Relay) -> None:
    options = ("--url", relay.url, "--key", ADMIN)
    code, out, _ = call("explain", "b", *options)
    assert (code, out.splitlines()[0]) == (0, "b is one server's model, which would be asked.")
    assert "it is the only server of this name" in out
    _, out, _ = call("explain", "away", *options)
    assert out.splitlines()[0] == "away is one server's model, which cannot be asked now."


def test_a_model_that_is_not_there(call: H2O, relay: Relay) -> None:
    code, out, err = call("explain", "bigg", "--url", relay.url, "--key", ADMIN)
    assert (code, out) == (1, "")
    assert err.startswith("h2o: The model `bigg` does not exist.")


@pytest.mark.parametrize("words", [(), ("--key", "wrong"), ("--key", KEY)])
def test_it_is_for_those_with_the_admin_key(
    call: H2O, relay: Relay, words: tuple[str, ...]
) -> None:
    code, out, err = call("explain", "big", "--url", relay.url, *words)
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        f"h2o: the relay at {relay.url} tells this only to who has its admin key",
        "start it with ADMIN_PASS in the environment; here set ADMIN_PASS, or give --key",
    ]


def test_without_a_relay_there_is_nothing_to_explain(call: H2O) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        code, out, err = call("explain", "m", "--openai-port", url.rpartition(":")[2])
    assert (code, out) == (3, "")
    assert err.splitlines() == [
        f"h2o: no relay answers at {url}: it could not be reached", "start one with: h2o run"
    ]  # fmt: skip


def test_an_explanation_of_another_kind_is_no_traceback(call: H2O) -> None:
    with Background(answer({"members": "many"})) as upstream:
        code, out, err = call("explain", "m", "--url", upstream.url)
    assert (code, out) == (1, "")
    assert err == (
        f"h2o: the relay at {upstream.url} explains it in a form that is not known here\n"
    )


def test_a_full_pool_lets_requests_wait() -> None:
    member: dict[str, Any] = {"member": "a", "state": "busy", "in_question": False,
                              "chosen": False}  # fmt: skip
    found = {"model": "p", "pool": True, "strategy": "least-load", "queue": 100, "waiting": 3,
             "members": [member]}  # fmt: skip
    assert route.lines(found)[1] == (
        "Every member that can answer has enough to do: a request would wait "
        "(3 of 100 places are taken)."
    )
    member["state"] = "offline"
    assert route.lines(found)[1] == "No member can be asked now."


@pytest.mark.parametrize(
    ("score", "shown"),
    [(0, "0"), (1.25, "1.25"), (1_000_002.0, "1,000,002"), (-3, "-3"), (None, None)],
)
def test_scores_are_numbers_that_people_read(score: float | None, shown: str | None) -> None:
    assert route._cells({"member": "a", "score": score})[3] == shown
