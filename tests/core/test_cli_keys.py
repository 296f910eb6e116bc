"""`h2o keys`: the same over a running relay and straight on its store."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from h2o_relay.cli import main
from h2o_relay.commands.keys_table import cells
from h2o_relay.testing.scripts import json as answer

from ..proxy.keys_kit import MASTER, Guarded, guarded
from .identify_servers import Background
from .running_relay import Running

KEY = re.compile(r"sk-h2o-[A-Za-z0-9]{43}\n")
LONG = 20.0
H2O = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, no_settings: None, tmp_path: Path) -> None:
    monkeypatch.delenv("H2O_URL", raising=False)
    monkeypatch.setenv("H2O_SAVE_DIR", str(tmp_path / "data"))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("H2O_OPENAI_PORT", str(unused.getsockname()[1]))


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> H2O:
    def run(*words: str) -> tuple[int, str, str]:
        code = main(["keys", *words])
        return code, *capsys.readouterr()

    return run


class Elsewhere:
    """A relay with keys on a loop of its own, for commands that have theirs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._stack = contextlib.AsyncExitStack()

    def __enter__(self) -> Guarded:
        self._thread.start()
        relay = self.do(self._stack.enter_async_context(guarded(self._folder)))
        assert isinstance(relay, Guarded)
        return relay

    def __exit__(self, *_: object) -> None:
        try:
            self.do(self._stack.aclose())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def do(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(LONG)


@dataclass
class Place:
    """Options that say where keys are, and what that is called."""

    options: tuple[str, ...]
    name: str


@pytest.fixture(params=["store", "relay"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "data"
    if request.param == "store":
        yield Place((), f"the store ({folder}/relay.db)")
        return
    with Elsewhere(folder) as relay:
        yield Place(("--url", relay.url, "--key", MASTER), f"the relay at {relay.url}")


def test_a_key_from_its_making_to_its_end(call: H2O, place: Place) -> None:
    code, out, err = call(
        "create", "ci", "--model", "a", "--models", "b*,c", "--rpm=60", "--tpm", "1000",
        "--concurrent", "2", "--budget", "5.5", "--per", "day", "--expires", "2100-01-01",
        *place.options,
    )  # fmt: skip
    assert code == 0
    assert KEY.fullmatch(out), "nothing else is on stdout"
    assert place.name in err
    assert "it is the first one: callers of the API need a key from now on" in err
    assert out.strip() not in err

    code, listed, _ = call("list", "--json", *place.options)
    [key] = json.loads(listed)
    assert (key["name"], key["state"], key["admin"], key["last4"]) == (
        "ci", "good", False, out.strip()[-4:],
    )  # fmt: skip
    assert (key["models"], key["requests_per_minute"], key["tokens_per_minute"]) == (
        ["a", "b*", "c"], 60, 1000,
    )  # fmt: skip
    assert (key["concurrent"], key["budget"], key["budget_period"]) == (2, 5.5, "day")
    assert key["expires"] == 4102444800.0
    code, table, _ = call("list", *place.options)
    head, row = table.splitlines()
    assert head.split() == ["Name", "Id", "Key", "State", "Models", "Limits", "Budget", "Expires",
                            "Used"]  # fmt: skip
    assert re.split(r"  +", row) == [
        "ci", key["id"], f"…{key['last4']}", "good", "a, b*, c",
        "60 requests/min, 1,000 tokens/min, 2 at once", "5.5 a day", "2100-01-01", "-",
    ]  # fmt: skip

    code, second, err = call("rotate", key["id"], "--grace", "1h", *place.options)
    assert code == 0
    assert KEY.fullmatch(second)
    assert second != out
    assert f"key {key['id']} (ci) is rotated; the old one is good until 2" in err
    code, _, err = call("rotate", "ci", *place.options)
    assert "the old one is good no longer" in err

    assert call("revoke", "ci", *place.options)[:2] == (0, f"key {key['id']} (ci) is revoked\n")
    assert call("list", *place.options) == (
        0, "", "there are no keys; make one with: h2o keys create NAME\n",
    )  # fmt: skip
    code, listed, _ = call("list", "--all", "--json", *place.options)
    assert [one["state"] for one in json.loads(listed)] == ["revoked"]
    for secret in (out, second):
        assert secret.strip() not in listed


def test_json_has_the_key_where_it_is_made(call: H2O, place: Place) -> None:
    _, out, err = call("create", "root", "--admin", "--json", *place.options)
    made = json.loads(out)
    assert KEY.fullmatch(made["key"] + "\n")
    assert (made["admin"], made["models"], made["budget"]) == (True, [], None)
    assert "from now on" in err
    _, out, err = call("create", "other", "--json", *place.options)
    assert "from now on" not in err
    _, out, _ = call("rotate", "root", "--json", *place.options)
    assert json.loads(out)["key"] != made["key"]
    _, out, _ = call("revoke", made["id"], "--json", *place.options)
    assert json.loads(out)["state"] == "revoked"
    assert "key" not in json.loads(out)


def test_what_is_refused(call: H2O, place: Place) -> None:
    assert call("create", "ci", *place.options)[0] == 0
    for words, line in (
        (("create", "ci"), "There is a key called 'ci' already."),
        (("create", " "), "A key's name has 1 to 100 characters that can be printed."),
        (("revoke", "cd"), "There is no key 'cd'."),
        (("rotate", "key_0"), "There is no key 'key_0'."),
    ):
        assert call(*words, *place.options) == (1, "", f"h2o: {line}\n")
    assert len(json.loads(call("list", "--json", *place.options)[1])) == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--rpm", "0"), "invalid value for '--rpm': 0 is not in the range 1<=x<="),
        (("--tpm", "many"), "invalid value for '--tpm': 'many' is not a valid integer"),
        (("--budget", "-1"), "invalid value for '--budget'"),
        (("--budget", "nan"), "--budget: this is not a number"),
        (("--budget", "inf"), "invalid value for '--budget'"),
        (("--budget", "5", "--per", "year"), "invalid value for '--per'"),
        (("--per", "day"), "--per says how long a budget lasts; give --budget, too"),
        (("--expires", "soon"), "--expires: 'soon' is neither a time from now such as 30d nor"),
        (("--expires", "1999-01-01"), "--expires: 1999-01-01 is not in the future"),
        (("--expires", "999y"), "--expires: '999y' is more than 100 years"),
        (("--rmp", "5"), "unknown option --rmp; did you mean --rpm?"),
    ],
)
def test_mistakes(call: H2O, words: tuple[str, ...], line: str) -> None:
    code, out, err = call("create", "ci", *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"h2o: {line}"), err
    assert call("list", "--json")[1] == "[]\n"


def test_grace_that_is_no_time(call: H2O) -> None:
    code, out, err = call("rotate", "ci", "--grace", "long")
    assert (code, out) == (2, "")
    assert err == "h2o: --grace: 'long' is no time such as 90s, 30m, 12h, 30d, 2w or 1y\n"


def test_the_relay_on_this_machine_is_asked_where_its_admin_key_is_known(
    call: H2O, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Elsewhere(tmp_path / "its own") as relay:
        monkeypatch.setenv("H2O_OPENAI_PORT", str(relay.port))
        monkeypatch.setenv("ADMIN_PASS", MASTER)
        code, key, err = call("create", "ci")
        assert f"the relay at {relay.url}" in err
        assert relay.ring.find([(b"api-key", key.strip().encode())]).name == "ci", "at once"
        assert not (tmp_path / "data").exists()
        _, _, err = call("create", "ci", "--save_dir", str(tmp_path / "third"))
        assert f"the store ({tmp_path}/third/relay.db)" in err, "who names a store means it"
        monkeypatch.setenv("ADMIN_PASS", "another")
        _, _, err = call("create", "ci")
        assert f"the relay at {relay.url} wants its admin key" in err
        assert f"the store ({tmp_path}/data/relay.db)" in err
        code, out, err = call("create", "cd", "--url", relay.url)
        assert (code, out) == (1, "")
        assert "tells this only to who has its admin key" in err


def test_a_running_relay_finds_what_was_done_in_its_store(call: H2O, tmp_path: Path) -> None:
    elsewhere = Elsewhere(tmp_path / "data")
    with elsewhere as relay:
        gone: list[str] = []
        relay.ring.on_revoked(gone.append)
        _, key, _ = call("create", "ci")
        ask = relay.ask("GET", "/v1/models", key.strip())
        deadline = time.monotonic() + LONG
        while not relay.ring.needed and time.monotonic() < deadline:
            time.sleep(0.05)
        assert elsewhere.do(ask)[0] == 200
        start = time.monotonic()
        call("revoke", "ci")
        while not gone and time.monotonic() < deadline:
            time.sleep(0.05)
        assert time.monotonic() - start < 7, "2 s, and what this machine takes"
        assert elsewhere.do(relay.ask("GET", "/v1/models", key.strip()))[0] == 401


def test_a_relay_without_keys_is_none_to_ask(call: H2O, monkeypatch: pytest.MonkeyPatch) -> None:
    with Running("echo:m") as relay:
        monkeypatch.setenv("H2O_OPENAI_PORT", relay.url.rpartition(":")[2])
        code, out, err = call("create", "ci")
    assert code == 0
    assert KEY.fullmatch(out)
    assert "this is done in the store" in err


def test_a_relay_that_is_not_there(call: H2O) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    code, out, err = call("list", "--url", url)
    assert (code, out) == (3, "")
    assert err.startswith(f"h2o: no relay answers at {url}")


def test_an_answer_of_another_kind_is_no_traceback(call: H2O) -> None:
    with Background(answer({"data": "many"})) as upstream:
        for words in (("list",), ("revoke", "ci"), ("rotate", "ci")):
            code, out, err = call(*words, "--url", upstream.url)
            assert (code, out) == (1, "")
            assert err.startswith(f"h2o: the relay at {upstream.url} answers in a form that is not")


def test_a_store_that_cannot_be_opened(call: H2O, tmp_path: Path) -> None:
    (tmp_path / "relay.db").write_text("no database " * 500)
    code, out, err = call("create", "ci", "--save-dir", str(tmp_path))
    assert (code, out) == (1, "")
    assert err == (
        f"h2o: the store ({tmp_path}/relay.db) cannot be opened: file is not a database\n"
    )


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ({"state": "expired", "admin": True, "expires": 1e300, "used": 50.0, "budget": 1e6,
          "budget_period": "total"},
         ["expired, admin", "all", None, "1,000,000 in all", "never", "10 s ago"]),
        ({"state": "good", "expires": 86400.0 * 365 + 60, "budget": 0.5, "budget_period": "month"},
         ["good", "all", None, "0.5 a month", "1971-01-01 00:01", None]),
    ],
)  # fmt: skip
def test_what_people_read(key: dict[str, Any], shown: list[str | None]) -> None:
    assert list(cells(key, 60.0)[3:]) == shown
