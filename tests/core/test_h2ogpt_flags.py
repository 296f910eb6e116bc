"""h2oGPT's flags that mean nothing here: taken, and answered with one line each."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from h2o_relay.commands.h2ogpt_flags import of_environment, without
from h2o_relay.h2ogpt import flags
from h2o_relay.settings import Settings

SETTINGS = {item.name for item in fields(Settings)}
OWN = {"--ui", "--port", "--temperature"}
DOCUMENT = Path(__file__).parents[1] / "data" / "h2ogpt_document.json"


def test_no_flag_is_a_setting_of_ours() -> None:
    assert not SETTINGS & flags.names()
    assert len(flags.names()) > 300


@pytest.mark.parametrize("name", sorted(flags.names()))
def test_every_answer_is_one_line_for_a_person(name: str) -> None:
    answer = flags.answer(name)
    assert re.fullmatch(r"[a-zO-].{15,190}[^.\s]", answer), answer
    for option in re.findall(r"--([a-z-]+)", answer):
        known = option.removeprefix("no-").replace("-", "_")
        assert known in SETTINGS, f"{option} is no option"


def test_flags_that_may_stand_in_a_lock() -> None:
    assert {"load_8bit", "lora_weights", "langchain_mode"} <= flags.lock_keys()
    assert not {"auth_message", "dark", "verbose"} & flags.lock_keys()


def test_what_is_no_flag_of_h2ogpts() -> None:
    with pytest.raises(KeyError):
        flags.answer("no_such_flag")


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("--score_model=None vllm:h", "vllm:h"),
        ("--score_model None vllm:h", "vllm:h"),
        ("--score-model None --port 1", "--port 1"),
        ("--verbose vllm:h", "vllm:h"),
        ("--verbose True vllm:h", "vllm:h"),
        ("--noverbose vllm:h", "vllm:h"),
        ("--verbose=True vllm:h --verbose", "vllm:h"),
        ("--auth_message --port 1", "--port 1"),
        ("--temperature 1 vllm:h", "--temperature 1 vllm:h"),
        ("--no-ui --prot 1", "--no-ui --prot 1"),
        ("a -- --verbose", "a -- --verbose"),
        ("--langchain_modes ['LLM']", ""),
        ("--note --novel", "--note --novel"),
    ],
)
def test_taking_them_out(words: str, kept: str) -> None:
    assert without(words.split(), OWN)[0] == kept.split()


def test_flags_with_the_same_answer_share_a_line() -> None:
    _, lines = without(["--top_k_docs=-1", "--verbose", "--chunk=False", "--top_k_docs", "3"], OWN)
    assert lines == [
        f"--top_k_docs, --chunk: {flags.answer('chunk')}",
        f"--verbose: {flags.answer('verbose')}",
    ]


def test_variables() -> None:
    env = {"H2OGPT_SCORE_MODEL": "None", "H2OGPT_AUTH_MESSAGE": "closed", "SCORE_MODEL": "x"}
    env |= {"H2OGPT_OPENAI_API_KEY": "k", "H2OGPT_BASE_MODEL": "m"}
    assert of_environment(env, SETTINGS) == [
        f"H2OGPT_AUTH_MESSAGE: {flags.answer('auth_message')}",
        f"H2OGPT_SCORE_MODEL: {flags.answer('score_model')}",
    ]


def test_every_flag_of_the_document_is_known() -> None:
    found = set()
    for command in json.loads(DOCUMENT.read_text())["commands"]:
        for line in command["block"].splitlines():
            if "generate.py" in line or "--inference_server" in line:
                words = shlex.split(line.partition("&")[0], posix=True)
                found |= {w[2:].partition("=")[0] for w in words if w.startswith("--")}
    assert len(found) > 20
    assert found - SETTINGS - flags.names() == set()
