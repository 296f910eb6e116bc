"""The forms of options that h2oGPT's users type, and what becomes of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2o_relay.commands.argv import BadSwitch, normalise

SWITCHES = {"--ui", "--allow-open"}
VALUED = {"--openai-port", "--base-model", "--no-proxy", "--system", "-m"}


def said(line: str) -> str:
    return " ".join(normalise(line.split(" "), switches=SWITCHES, valued=VALUED))


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("--openai_port=5001", "--openai-port=5001"),
        ("--openai-port 5001", "--openai-port 5001"),
        ("--openai_port 5001", "--openai-port 5001"),
        ("--base_model=some_model", "--base-model=some_model"),
        ("--base_model some_model", "--base-model some_model"),
        ("--base_model=a=b_c", "--base-model=a=b_c"),
        ("--base_model=None", "--base-model=None"),
        ("--ui", "--ui"),
        ("--no-ui", "--no-ui"),
        ("--no_ui", "--no-ui"),
        ("--ui=True", "--ui"),
        ("--ui=False", "--no-ui"),
        ("--ui=1", "--ui"),
        ("--ui=off", "--no-ui"),
        ("--ui True", "--ui"),
        ("--ui false", "--no-ui"),
        ("--no-ui=True", "--no-ui"),
        ("--no-ui=False", "--ui"),
        ("--no-ui False", "--ui"),
        ("--allow_open=True", "--allow-open"),
        ("--ui None vllm:h", "vllm:h"),
        ("--ui=None --openai_port=1", "--openai-port=1"),
        ("--ui --ui=None", ""),
        ("--ui --no-ui", "--no-ui"),
        ("--ui vllm:my_host:5000", "--ui vllm:my_host:5000"),
        ("--ui --openai_port 1", "--ui --openai-port 1"),
        ("--system --a_b vllm:x_y", "--system --a_b vllm:x_y"),
        ("-m my_model --ui=False", "-m my_model --no-ui"),
        ("--no_proxy=my_host", "--no-proxy=my_host"),
        ("--no_proxy my_host", "--no-proxy my_host"),
        ("--ui=False -- --ui=True --a_b", "--no-ui -- --ui=True --a_b"),
        ("--score_model=None", "--score-model=None"),
        ("--base_model", "--base-model"),
    ],
)
def test_form(typed: str, read: str) -> None:
    assert said(typed) == read


@pytest.mark.parametrize("typed", ["--ui=maybe", "--no-ui=2", "--allow_open=-1"])
def test_a_switch_takes_no_other_value(typed: str) -> None:
    with pytest.raises(BadSwitch, match=f"^{typed.split('=')[0]}: "):
        said(typed)


def test_only_what_comes_before_the_command_is_read_for_a_group() -> None:
    words = ["--log_level", "debug", "run", "--ui=False"]
    read = normalise(words, switches=SWITCHES, valued={"--log-level"}, stop_at_word=True)
    assert read == ["--log-level", "debug", "run", "--ui=False"]


WORDS = st.sampled_from(
    ["--ui", "--no-ui", "--ui=True", "--no_ui=False", "--allow_open=None", "--openai_port=1",
     "--base_model", "--a_b", "vllm:x_y", "true", "None", "--", "-m", "x_y"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=8))
def test_what_is_read_is_read_again_unchanged(words: list[str]) -> None:
    once = normalise(words, switches=SWITCHES, valued=VALUED)
    # A word `true` that followed `--ui=x` would now follow a bare switch, and be taken for its own.
    if not any(word in ("true", "None") for word in once):
        assert normalise(once, switches=SWITCHES, valued=VALUED) == once
