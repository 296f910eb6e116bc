"""The parts of commands that need no server: failures, transcripts, Markdown blocks, addresses."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import click
import pytest

from h2o_relay.commands.conversation import Conversation, Turn
from h2o_relay.commands.failures import Failure, Mistake, explain
from h2o_relay.commands.fetching import Shown
from h2o_relay.commands.markdown_blocks import last_break
from h2o_relay.commands.option_help import group_of, note_of
from h2o_relay.commands.printable import one_line, printable
from h2o_relay.commands.servers import address, is_free, is_own
from h2o_relay.errors import BadServerString, RateLimited, UpstreamUnreachable, error_tree
from h2o_relay.settings import SettingError


def test_the_caret_stands_under_the_column() -> None:
    error = BadServerString("a port is missing", shown="vllm:h:x", column=8, example="vllm:h:1")
    found = explain(error)
    assert found.code == 2
    assert found.line == "server string: a port is missing"
    assert found.hints == ("  vllm:h:x", "         ^", "  example: vllm:h:1")


def test_a_long_server_string_is_shown_around_its_fault() -> None:
    error = BadServerString("no", shown="a" * 149 + "!" + "b" * 150, column=150)
    shown, caret = explain(error).hints
    assert len(shown) < 110
    assert shown[len(caret) - 1] == "!"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UpstreamUnreachable("gone"), 1, "gone"),
        (SettingError("--port: no"), 2, "--port: no"),
        (Failure("it broke"), 1, "it broke"),
        (Mistake("not so"), 2, "not so"),
        (click.UsageError("Got an extra argument."), 2, "got an extra argument"),
        (PermissionError(13, "Permission denied", "/x/y"), 1, "/x/y: Permission denied"),
        (ZeroDivisionError("oh"), 1, "internal error: ZeroDivisionError: oh"),
        (UpstreamUnreachable("two\nlines \x1b[31mred"), 1, "two lines [31mred"),
    ],
)
def test_every_failure_is_one_line(error: Exception, code: int, line: str) -> None:
    found = explain(error)
    assert (found.code, found.line) == (code, line)


def test_every_error_of_the_tree_is_explained() -> None:
    for kind in error_tree():
        error = kind.__new__(kind)
        Exception.__init__(error, "said")
        error.message, error.retry_after = "said", None
        if isinstance(error, BadServerString):
            error.reason, error.shown, error.column, error.example = "said", "", 0, ""
        found = explain(error)
        assert "said" in found.line
        assert found.code in (1, 2)


def test_a_refusal_says_when_to_try_again() -> None:
    assert explain(RateLimited("slow down", retry_after=2.5)).hints == ("try again in 2.5 seconds",)


def test_text_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2Jb\x07\r\x9bc\u202ed\ud800\te\nf") == "a[2Jbcd\te\nf"
    assert one_line("a\n\n b\t c") == "a b c"
    assert len(one_line("x" * 5000)) == 600


def test_unanswered_questions_are_not_sent_again() -> None:
    talk = Conversation(system="be kind")
    talk.turns = [
        Turn("q1", "a1"),
        Turn("q2", "", ending="failed"),
        Turn("q3", "a", "m", "stopped"),
    ]
    assert [(m["role"], m["content"]) for m in talk.messages("q4")] == [
        ("system", "be kind"),
        ("user", "q1"),
        ("assistant", "a1"),
        ("user", "q3"),
        ("assistant", "a"),
        ("user", "q4"),
    ]
    assert talk.take_back() == "q3"
    assert talk.take_back() == "q2"
    assert talk.transcript() == "**System:** be kind\n\n**You:** q1\n\n**Assistant:** a1\n"


def test_saving(tmp_path: Path) -> None:
    talk = Conversation(turns=[Turn("wer?", "ich", "m", "stopped")])
    talk.save(str(tmp_path / "talk.md"))
    assert "**m:** ich\n\n*(stopped by the reader)*" in (tmp_path / "talk.md").read_text()
    talk.save(str(tmp_path / "talk.json"))
    messages = json.loads((tmp_path / "talk.json").read_text())
    assert [m["content"] for m in messages] == ["wer?", "ich"]
    with pytest.raises(FileExistsError):
        talk.save(str(tmp_path / "talk.md"))


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("one line", 0),
        ("a\n\n", 0),
        ("a\n\nb", 3),
        ("a\n\nb\n\nc", 6),
        ("- a\n\n  still a", 0),
        ("```\nx\n\ny\n", 0),
        ("```\nx\n\ny\n```\n\nz", 14),
        ("~~~\n```\n\ny", 0),
    ],
)
def test_blocks_are_cut_where_they_have_ended(text: str, cut: int) -> None:
    assert last_break(text, 0) == cut


def test_a_block_is_cut_in_the_same_place_whenever_it_is_looked_at() -> None:
    text = "# t\n\npara\n\n```py\n\nx\n```\n\n1. a\n\n   b\n\nend"
    drawn, pieces = 0, []
    for length in range(len(text) + 1):
        cut = last_break(text[:length], drawn)
        if cut > drawn:
            pieces.append(text[drawn:cut])
            drawn = cut
    assert pieces == ["# t\n\n", "para\n\n", "```py\n\nx\n```\n\n", "1. a\n\n   b\n\n"]


@pytest.mark.parametrize(
    ("host", "listening", "own"),
    [
        ("localhost", "127.0.0.1", True),
        ("127.3.2.1", "127.0.0.1", True),
        ("::1", "127.0.0.1", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("192.0.2.7", "127.0.0.1", False),
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "0.0.0.0", False),
        ("example.org", "0.0.0.0", False),
        (socket.gethostname(), "0.0.0.0", True),
    ],
)
def test_own_addresses(host: str, listening: str, own: bool) -> None:
    assert is_own(host, listening) is own


def test_addresses_of_urls() -> None:
    assert address("http://h:5000/v1") == ("h", 5000)
    assert address("https://h./v1") == ("h", 443)
    assert address("http://[::1]:80") == ("::1", 80)
    assert address(None) == ("", 0)


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port)


def test_help_knows_where_a_setting_belongs() -> None:
    groups = {name: group_of(name) for name in ("base_model", "openai_port", "idle_timeout")}
    assert groups == {
        "base_model": "Servers", "openai_port": "Network", "idle_timeout": "Timeouts"
    }  # fmt: skip
    assert (group_of("max_body"), group_of("max_seq_len")) == ("Limits", "Prompts")
    assert note_of("max_body") == "default: 16MB; env: H2O_MAX_BODY"
    assert note_of("request_timeout") == "default: 60; env: H2O_REQUEST_TIMEOUT, REQUEST_TIMEOUT"


def test_a_download_is_one_line_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with Shown() as progress:
        for done in range(0, 50_000_000, 10_000_000):
            progress(done, 50_000_000, "downloading tiny")
        progress(0, None, "checking tiny")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "h2o: downloading tiny (50 MB)\nh2o: checking tiny\n"
