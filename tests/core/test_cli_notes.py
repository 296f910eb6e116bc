"""What was done to a request is told in words, and which models the terminal commands mean."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from h2o_relay.notes import in_words

from . import test_cli_commands as cli
from .test_cli_commands import H2O
from .test_cli_processes import run

environment, call = cli.environment, cli.call
LOCK = "[{'inference_server':'echo:a','base_model':'A'},{'inference_server':'echo:b'}]"
LIMITED = "the answer's limit was lowered to 7 tokens"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """What `environment` has set up, for another process."""
    return {**os.environ, "PYTHONPATH": str(tmp_path / "plugins")}


@pytest.mark.parametrize(
    ("notes", "dropped", "phrases"),
    [
        (None, (), []),
        ({"trimmed": "1"}, (),
         ["1 older message did not fit into the model's context and was left out"]),
        ({"trimmed": "12"}, (),
         ["12 older messages did not fit into the model's context and were left out"]),
        ({"limited": "max_tokens=7"}, (), [LIMITED]),
        ({"limited": "max_completion_tokens=1"}, (),
         ["the answer's limit was lowered to 1 token"]),
        ({"limited": "n=2", "trimmed": "some"}, (), ["limited: n=2", "trimmed: some"]),
        ({"other": "thing"}, (), ["other: thing"]),
        (None, ("stream_options", "truncation"), []),
        (None, ("seed",), ["the server does not take seed, which was ignored"]),
        (None, ("seed", "n", "top_k"),
         ["the server does not take seed, n and top_k, which were ignored"]),
        ({"limited": "max_tokens=7"}, ["seed"],
         [LIMITED, "the server does not take seed, which was ignored"]),
    ],
)  # fmt: skip
def test_phrases(notes: dict[str, str] | None, dropped: list[str], phrases: list[str]) -> None:
    assert in_words(notes, dropped) == phrases


def test_ask_tells_of_a_lowered_limit(call: H2O) -> None:
    words = ("ask", "--server=echo", "--max-max-new-tokens=7", "one two")
    assert call(*words) == (0, "one two\n", "")
    for more in ((), ("--json",)):
        code, out, err = call(*words, "--max-tokens=50", *more)
        assert (code, err) == (0, f"h2o: note: {LIMITED}\n")
        assert "one two" in out


def test_chat_leaves_out_what_does_not_fit_and_says_so(env: dict[str, str]) -> None:
    long = " ".join(["word"] * 200)
    code, out, err = run(env, "chat", "echo:m", "--max-seq-len=400", piped=f"{long}\nshort\n")
    assert (code, out) == (0, f"{long}\nshort\n")
    _, *told = err.splitlines()
    assert told == [
        "2 older messages did not fit into the model's context and were left out",
        "what fits was estimated, since the server does not count",
    ]


@pytest.fixture
def dead() -> Iterator[str]:
    """A server that is not there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"vllm:127.0.0.1:{taken.getsockname()[1]}"


def test_the_first_model_is_one_that_is_up(call: H2O, env: dict[str, str], dead: str) -> None:
    lock = f"[{{'inference_server':'{dead}','base_model':'away'}},{LOCK[1:]}"
    code, out, _ = call("ask", "--model_lock", lock, "--json", "hi")
    assert (code, json.loads(out)["model"]) == (0, "a")
    code, out, err = run(env, "chat", "--model_lock", lock, piped="hi\n/models\n")
    assert (code, out) == (0, "hi\n")
    assert "A at echo:a - /help for commands" in err
    assert err.splitlines()[-3:] == ["  away", "* A", "  b"]


def test_the_models_of_a_lock(call: H2O, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = [["A", "echo:a", "-"], ["b", "echo:b", "-"]]

    def listed(*words: str) -> list[list[str]]:
        code, out, err = call("models", "list", *words)
        assert (code, err) == (0, ""), err
        return [line.split() for line in out.splitlines()[1:]]

    assert listed("--model_lock", LOCK) == rows
    assert listed("--model_lock", LOCK, "--visible_models=['b']") == rows[1:]
    file = tmp_path / "lock.yaml"
    file.write_text("- {inference_server: echo:y, base_model: Y, display_name: nice}\n")
    assert listed(f"--model-lock=@{file}") == [["nice", "echo:y", "-"]]
    monkeypatch.setenv("H2O_MODEL_LOCK", LOCK)
    assert listed() == rows
    assert listed("echo:typed") == [["typed", "echo:typed", "-"]]


def test_the_relay_that_is_named_is_asked_in_spite_of_a_lock(
    call: H2O, monkeypatch: pytest.MonkeyPatch, dead: str
) -> None:
    monkeypatch.setenv("H2O_MODEL_LOCK", LOCK)
    url = f"http://{dead.removeprefix('vllm:')}/v1"
    code, out, err = call("models", "list", "--url", url)
    assert (code, out) == (1, "")
    assert err.startswith(f"h2o: no relay answers at {url}")
