"""`h2o status`: a real relay's models as people and programs read them, once and as they change."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from h2o_relay.admin import DeploymentView
from h2o_relay.cli import main
from h2o_relay.commands import status, status_rows, status_source, status_table
from h2o_relay.commands.relay_client import RelayClient
from h2o_relay.commands.status_rows import Row
from h2o_relay.health import MEANINGS, STATES
from h2o_relay.pools import PoolSpec
from h2o_relay.testing.scripts import json as answer
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received
from h2o_relay_proxy.seeing.troubles import Trouble, Troubles

from .identify_servers import Background, Product, listed
from .running_relay import ADMIN, KEY, Relay, Running
from .test_cli_processes import H2O as PROGRAM
from .test_cli_processes import PATIENCE, Terminal

H2O = Callable[..., tuple[int, str, str]]
NOW = 1_800_000_000.0
VIEW = DeploymentView(
    id="1", name="m", model="m", base_model=None, server="vllm:h:1", plugin="vllm", state="healthy",
    stage="ready", reason="", since=NOW - 190, visible=True, added=False, max_context=None,
    kinds=("chat",), fields=None, vision=None, prompt_type=None, loadable=False, running=2,
    waiting=1, latency=0.214, requests=0, failures=0, tokens=0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_settings: None) -> None:
    monkeypatch.delenv("H2O_URL", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> H2O:
    def run(*words: str) -> tuple[int, str, str]:
        code = main(["status", *words])
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def dead() -> Iterator[str]:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{unused.getsockname()[1]}"


@pytest.fixture(scope="module")
def relay(dead: str) -> Iterator[Relay]:
    """A model that answers, one that is away, and a pool of both."""
    pools = [PoolSpec(name="both", members=("a", "away"))]
    with Running("echo:a", (f"plain:{dead}", "away"), pools=pools) as found:
        yield found


# Once


def test_the_table_of_who_administers(call: H2O, relay: Relay, dead: str) -> None:
    code, out, err = call("--url", relay.url, "--key", ADMIN)
    head, a, away, both = out.splitlines()
    assert (code, err) == (1, ""), "one cannot answer"
    assert " ".join(head.split()) == (
        "Model Server State Since First token Running Waiting Server's load Reason"
    )
    assert a.split()[:3] == ["a", "echo:a", "healthy"]
    assert away.split()[:3] == ["away", f"plain:{dead}", "offline"]
    assert away.endswith("the upstream server could not be reached")
    assert both.startswith("both   pool, least-load: a, away")
    assert "healthy" in both


def test_callers_are_told_how_models_do_and_not_where_they_are(
    call: H2O, relay: Relay, dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("H2O_URL", f"{relay.url}/v1")
    monkeypatch.setenv("H2O_API_KEY", KEY)
    code, out, err = call("--once")
    rows = {line.split()[0]: line for line in out.splitlines()[1:]}
    assert (code, err) == (1, "")
    assert list(rows) == ["a", "away", "both"]
    assert "healthy" in rows["a"]
    assert "offline" in rows["away"]
    assert dead not in out
    assert "echo:a" not in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [(("a",), 0), (("both", "a"), 0), (("away",), 1), (("a", "bth"), 1)],
)
def test_the_exit_code_is_that_of_the_models_asked_for(
    call: H2O, relay: Relay, words: tuple[str, ...], expected: int
) -> None:
    code, out, _ = call(*words, "--once", "--url", relay.url, "--key", ADMIN)
    assert code == expected
    assert [line.split()[0] for line in out.splitlines()[1:]] == list(words)
    assert ("there is no such model; did you mean both?" in out) == ("bth" in words)


def test_programs_get_one_object(call: H2O, relay: Relay, dead: str) -> None:
    code, out, _ = call("--json", "--url", relay.url, "--key", ADMIN)
    data = json.loads(out)
    assert (code, data["url"]) == (1, relay.url)
    a, away, both = data["models"]
    assert (a["model"], a["server"], a["state"], a["answers"]) == ("a", "echo:a", "healthy", True)
    assert (away["state"], away["answers"]) == ("offline", False)
    assert away["last_error"] == "the upstream server could not be reached"
    assert abs(away["last_error_at"] - time.time()) < 60
    assert (both["members"], both["strategy"]) == (["a", "away"], "least-load")
    assert {"since", "latency", "running", "waiting", "server_running"} <= set(a)
    public = json.loads(call("--json", "--url", relay.url, "--key", KEY)[1])["models"]
    assert [row["model"] for row in public] == ["a", "away", "both"]
    assert [row["state"] for row in public] == [row["state"] for row in data["models"]]
    assert [row["server"] for row in public] == [None] * 3
    assert public[2]["members"] == ["a", "away"]


def test_without_a_key_a_relay_that_wants_one_says_so(call: H2O, relay: Relay) -> None:
    for words in ((), ("--key", "wrong")):
        code, out, err = call("--url", relay.url, *words)
        assert (code, out) == (1, "")
        assert err.splitlines() == [
            f"h2o: the relay at {relay.url} wants a key",
            "set H2O_API_KEY or ADMIN_PASS, or give --key",
        ]


def test_no_relay_is_exit_code_3(call: H2O, dead: str) -> None:
    code, out, err = call("--openai_port", dead.rpartition(":")[2])
    assert (code, out) == (3, "")
    assert err.splitlines() == [
        f"h2o: no relay answers at http://{dead}: it could not be reached",
        "start one with: h2o run",
    ]


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (Product({}, "<html>It works!</html>"), "what answers there does not answer in JSON"),
        (Product({}, {"status": "ok"}), "what answers there has no list of models"),
        (Product({}, ("nothing here", 404)), "what answers there says 404"),
        (answer([], 500), "what answers there says 500"),
    ],
)
def test_what_is_no_relay_is_named(call: H2O, script: Any, why: str) -> None:
    with Background(script) as upstream:
        code, out, err = call("--url", upstream.url)
    assert (code, out) == (3, "")
    assert err.splitlines()[0] == f"h2o: no relay answers at {upstream.url}: {why}"


def test_a_server_that_tells_no_state_is_unknown(call: H2O) -> None:
    with Background(Product({"/v1/models": listed("somebody", "m")})) as upstream:
        code, out, _ = call("--url", upstream.url)
    assert code == 1
    assert out.splitlines()[1].split()[:2] == ["m", "unknown"]
    assert out.rstrip().endswith("the relay does not tell")


def test_a_relay_without_a_model_says_so(call: H2O) -> None:
    with Background(Product({"/v1/models": listed("relay")})) as upstream:
        code, _, err = call("--url", upstream.url)
    assert (code, err) == (1, f"{upstream.url}: it has no model\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--watch", "--once"), "--watch goes on, and --once does not: give one of them"),
        (("--url", "ftp://h"), "not the address of a relay: "),
        (("--url", "http://user@h"), "not the address of a relay: "),
        (("--key", "env:H2O_NOT_SET"), "--key: the environment variable H2O_NOT_SET is not"),
    ],
)
def test_mistakes(call: H2O, words: tuple[str, ...], line: str) -> None:
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"h2o: {line}")


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("10.0.0.9:5000", "http://10.0.0.9:5000"),
        ("https://relay.example/v1/", "https://relay.example"),
        ("http://relay.example/llm/v1", "http://relay.example/llm"),
        (None, "http://127.0.0.1:5678"),
    ],
)
def test_the_address_may_be_written_in_many_ways(given: str | None, url: str) -> None:
    settings = replace(quick(), host="0.0.0.0", openai_port=5678)
    assert RelayClient({"url": given, "key": None}, settings).url == url


# The table


def shown(*rows: Row, width: int = 200, color: bool = False, wrong: tuple[str, ...] = ()) -> str:
    out = Console(file=StringIO(), width=width, color_system="standard" if color else None)
    out.print(status_table.live(rows, "http://r", wrong, NOW, width))
    text = out.file.getvalue()  # type: ignore[attr-defined]
    return str(text)


def row_of(**changes: Any) -> Row:
    return status_rows.of_view(asdict(replace(VIEW, **changes)))


def test_every_state_has_its_colour() -> None:
    assert set(status_table.STYLES) == set(STATES)
    drawn = {state: shown(row_of(state=state), color=True) for state in STATES}
    assert "\x1b[32mhealthy" in drawn["healthy"]
    assert "\x1b[31moffline" in drawn["offline"]
    assert "\x1b[31mauth-error" in drawn["auth-error"]
    assert "\x1b[33mrate-limited" in drawn["rate-limited"]


def test_a_line_has_all_of_a_model() -> None:
    row = row_of(state="busy", reason="a queue", server_running=7, server_waiting=3,
                 last_error="no route", last_error_at=NOW - 5000, visible=False)  # fmt: skip
    line = shown(row).splitlines()[1]
    assert " ".join(line.split()) == (
        "m (hidden) vllm:h:1 busy 3 min 0.21 s 2 1 7 + 3 a queue; last error 1 h ago: no route"
    )


def test_a_reason_is_not_said_twice() -> None:
    row = row_of(state="offline", reason="gone: no route", last_error="no route")
    assert shown(row).splitlines()[1].rstrip().endswith("  gone: no route")


def test_a_narrow_terminal_loses_the_servers_and_no_word() -> None:
    reason = "the upstream server could not be reached"
    lines = shown(row_of(reason=reason), row_of(name="", server="vllm:h:2"), width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert "Server" not in "".join(lines)
    assert "2 + 1" in lines[1], "running and waiting"
    assert "vllm:h:2" in "\n".join(lines)
    assert set(reason.split()) <= set(" ".join(lines).split())


def test_a_pool_is_marked_where_there_is_no_room_for_its_members() -> None:
    row = row_of(name="p", members=("a", "b"), strategy="sticky")
    assert "pool, sticky: a, b" in shown(row)
    assert shown(row, width=80).splitlines()[1].startswith("p (pool)")


def test_foreign_words_do_not_steer_the_terminal() -> None:
    row = row_of(name="m\x1b[2J", server="s\x1b]0;x\x07", reason="r\x1b[31m\nnext", state="s\x1b")
    assert "\x1b" not in shown(row)
    assert "r[31m next" in shown(row)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s"), (59.9, "59 s"), (60, "1 min"), (3600, "1 h"), (172800, "2 days")],
)
def test_durations(seconds: float, words: str) -> None:
    assert status_table.duration(seconds) == words


def test_the_summary_counts() -> None:
    nameless = row_of(name="", server="vllm:h:2", state="unknown")
    assert status_table.summary([row_of()]) == "1 model, 1 can answer"
    many = [row_of(), row_of(state="offline"), row_of(state="busy"), nameless]
    assert status_table.summary(many) == "3 models, 2 can answer"
    assert not nameless.answers


# As it changes


def reading(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


@pytest.fixture
def patience() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are ended, should a test wait for one in vain."""
    started: list[subprocess.Popen[str]] = []
    timer = threading.Timer(PATIENCE, lambda: [each.kill() for each in started])
    timer.start()
    yield started
    timer.cancel()
    for each in started:
        each.kill()
        each.communicate()


@pytest.mark.parametrize("key", [ADMIN, KEY])
def test_a_line_for_each_change_until_ctrl_c(
    patience: list[subprocess.Popen[str]], key: str
) -> None:
    with Running("echo:a", "echo:b") as relay:
        words = ["status", "--json", "--watch", "--url", relay.url, "--key", key]
        pipe = subprocess.PIPE
        process = subprocess.Popen([*PROGRAM, *words], stdout=pipe, stderr=pipe, text=True)
        patience.append(process)
        lines = reading(process)
        first = next(lines)
        assert [row["model"] for row in first["models"]] == ["a", "b"]
        assert first["problem"] is None
        relay.call(drain(relay))
        later = next(line for line in lines if line["models"][0]["state"] != "healthy")
        assert [row["state"] for row in later["models"]] == ["draining", "healthy"]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err.strip()) == (130, "")


async def drain(relay: Relay) -> None:
    relay.kernel.entries[0].health.draining = True
    relay.kernel.notify()


def test_a_relay_that_goes_away_is_waited_for(patience: list[subprocess.Popen[str]]) -> None:
    with Running("echo:a") as relay:
        words = ["status", "--json", "--watch", "--url", relay.url, "--key", ADMIN]
        pipe = subprocess.PIPE
        process = subprocess.Popen([*PROGRAM, *words], stdout=pipe, stderr=pipe, text=True)
        patience.append(process)
        lines = reading(process)
        assert next(lines)["problem"] is None
        port = int(relay.url.rpartition(":")[2])
    gone = next(line for line in lines if line["problem"])
    assert "no relay answers at" in gone["problem"]
    assert [row["model"] for row in gone["models"]] == ["a"], "what was known last"
    with Running("echo:back", port=port):
        back = next(line for line in lines if not line["problem"])
        assert [row["model"] for row in back["models"]] == ["back"]


def test_a_terminal_shows_a_table_that_lives() -> None:
    import os

    with Running("echo:a", "echo:b") as relay:
        env = {**os.environ, "TERM": "xterm"}
        terminal = Terminal(env, "status", "--url", relay.url, "--key", ADMIN)
        try:
            terminal.read_until(r"a\s+healthy[^\n]*\s+b\s+healthy")
            terminal.read_until("2 models, 2 can answer")
            relay.call(drain(relay))
            terminal.read_until(r"a\s+draining")
            terminal.read_until("2 models, 1 can answer")
            terminal.type("\x03")
            rest = terminal.rest().decode()
        finally:
            terminal.process.kill()
    assert terminal.process.returncode == 130
    assert "Traceback" not in rest
    assert "h2o:" not in rest


def test_plain_tables_follow_each_other_in_a_pipe(patience: list[subprocess.Popen[str]]) -> None:
    with Running("echo:a") as relay:
        words = ["status", "--watch", "--url", relay.url, "--key", ADMIN]
        process = subprocess.Popen([*PROGRAM, *words], stdout=subprocess.PIPE, text=True)
        patience.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Model")
        assert process.stdout.readline().split()[:3] == ["a", "echo:a", "healthy"]
        assert process.stdout.readline() == "\n"
        relay.call(drain(relay))
        assert process.stdout.readline().startswith("Model")
        assert process.stdout.readline().split()[:3] == ["a", "echo:a", "draining"]


async def test_lists_that_are_polled_are_told_only_when_they_change() -> None:
    looks = 0

    async def models(request: Received, answering: Answer) -> None:
        nonlocal looks
        looks += request.path == "/v1/models"
        names = ["m"] if looks < 3 else ["m", "n"]
        await answer(listed("relay", *names))(request, answering)

    with Background(models) as upstream:
        async with RelayClient({"url": upstream.url, "key": None}, quick()) as relay:
            news = status_source.followed(relay)
            async with asyncio.timeout(PATIENCE):
                assert [row.model for row in (await anext(news)).rows] == ["m"]
                assert [row.model for row in (await anext(news)).rows] == ["m", "n"]
            await news.aclose()
    assert looks == 3


@pytest.mark.parametrize(
    ("flags", "tty", "watches"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"json": True}, True, False),
        ({"once": True}, True, False),
        ({"once": False}, False, True),
        ({"watch": True}, False, True),
        ({"watch": False}, True, False),
    ],
)
def test_a_terminal_is_watched_unless_it_is_said_otherwise(
    flags: dict[str, Any], tty: bool, watches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: tty, raising=False)
    assert status._watches(flags) is watches


# What is wrong with the relay itself


class Broken:
    """Something that a desk asks how it is."""

    def __init__(self) -> None:
        self.problem = ""

    def __call__(self) -> str:
        return self.problem


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Broken:
    """The store of usage of every relay that is started."""
    found = Broken()
    init = Troubles.__init__
    monkeypatch.setattr(
        Troubles, "__init__", lambda self, **parts: init(self, **{**parts, "usage": found})
    )
    return found


def test_the_operator_is_told_what_is_wrong_since_when_and_what_to_do(
    call: H2O, broken: Broken
) -> None:
    with Running("echo:a") as relay:
        words = ("--url", relay.url, "--key", ADMIN)
        code, _, err = call(*words)
        assert (code, err) == (0, "")
        broken.problem = "the disk is \x1b[31mfull"
        code, _, err = call(*words)
        assert code == 0, "the models answer"
        assert "\x1b" not in err
        line = err.strip()
        assert line.startswith(f"{relay.url}: usage: the disk is ")
        assert re.search(r" \(for \d+ s\): bring the store back", line)
        told = json.loads(call(*words, "--json")[1])["trouble"]
        assert [(one["part"], one["problem"]) for one in told] == [("usage", broken.problem)]
        assert abs(told[0]["since"] - time.time()) < 60
        broken.problem = ""
        assert json.loads(call(*words, "--json")[1])["trouble"] == []


def test_others_are_told_that_something_is_wrong(call: H2O, broken: Broken) -> None:
    broken.problem = "secret-canary"
    with Running("echo:a") as relay:
        for key in (KEY, None):
            words = ("--key", key) if key else ()
            _, out, err = call("--url", relay.url, *words)
            assert "secret-canary" not in out + err
            if key:
                assert "something is wrong with its keys, limits or usage: its log" in err


def test_it_is_watched(broken: Broken, patience: list[subprocess.Popen[str]]) -> None:
    with Running("echo:a") as relay:
        words = ["status", "--json", "--watch", "--url", relay.url, "--key", ADMIN]
        pipe = subprocess.PIPE
        process = subprocess.Popen([*PROGRAM, *words], stdout=pipe, stderr=pipe, text=True)
        patience.append(process)
        lines = reading(process)
        assert next(lines)["trouble"] == []
        broken.problem = "full"
        assert next(line for line in lines if line["trouble"])["trouble"][0]["problem"] == "full"
        broken.problem = ""
        assert next(line for line in lines if not line["trouble"])["models"][0]["model"] == "a"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)


def test_a_terminal_has_a_line_for_each() -> None:
    text = shown(row_of(), wrong=("no relay answers", "usage: full"))
    assert text.rstrip().endswith("no relay answers\nusage: full")


# docs/status.md


def test_the_page_has_every_state_and_every_field() -> None:
    page = (Path(__file__).parents[2] / "docs" / "status.md").read_text(encoding="utf-8")
    for state, meaning in MEANINGS.items():
        assert f"| `{state}` | {meaning} |" in page
    for item in fields(Row):
        assert f"`{item.name}`" in page
    for item in fields(Trouble):
        assert f"`{item.name}`" in page
