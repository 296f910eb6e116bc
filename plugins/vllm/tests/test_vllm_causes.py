"""Which lines of vLLM's log say why it did not start; the logs are of vLLM 0.32, cut short."""

from __future__ import annotations

import pytest

from h2o_relay_vllm.causes import last_words

ENGINE = """\
(EngineCore pid=7) ERROR 11-22 22:13:28 [core.py:1134] EngineCore failed to start.
(EngineCore pid=7) ERROR 11-22 22:13:28 [core.py:1134] Traceback (most recent call last):
(EngineCore pid=7) ERROR 11-22 22:13:28 [core.py:1134]   File "weight_utils.py", line 1, in load
(EngineCore pid=7) ERROR 11-22 22:13:28 [core.py:1134] safetensors.SafetensorError: incomplete
(EngineCore pid=7) Traceback (most recent call last):
(EngineCore pid=7)   File "core.py", line 1, in run_engine_core
(EngineCore pid=7) safetensors.SafetensorError: incomplete
(APIServer pid=6) Traceback (most recent call last):
(APIServer pid=6) RuntimeError: Engine core initialization failed. See root cause above."""
CONFIG = """\
(APIServer pid=6) WARNING 11-22 22:13:28 [u.py:255] This can cause errors like `OSError: [Errno 24]`
Traceback (most recent call last):
  File "dataclasses.py", line 121, in __init__
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, User-specified max_model_len (900000) is greater than the derived
    For further information visit the documentation"""
USAGE = """\
usage: api_server.py [-h] [--headless]
api_server.py: error: unrecognized arguments: --nonsense"""
OTHER = "one\ntwo\nthree\nfour\nfive\nKilled"


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (
            ENGINE,
            [
                "safetensors.SafetensorError: incomplete",
                "RuntimeError: Engine core initialization failed. See root cause above.",
            ],
        ),
        (
            CONFIG,
            [
                "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
                "Value error, User-specified max_model_len (900000) is greater than the derived",
                "For further information visit the documentation",
            ],
        ),
        (USAGE, ["api_server.py: error: unrecognized arguments: --nonsense"]),
        (OTHER, ["two", "three", "four", "five", "Killed"]),
        ("KeyboardInterrupt", ["KeyboardInterrupt"]),
        ("ValueError: " + "x" * 400, ["ValueError: " + "x" * 288]),
    ],
)
def test_the_cause_is_shown(log: str, words: list[str]) -> None:
    assert last_words(log.splitlines()) == words


def test_a_log_without_a_line_says_nothing() -> None:
    assert last_words([]) == []
