"""`--base_model NAME` alone, where the environment names a vLLM that can run it."""

from __future__ import annotations

import pytest

from h2o_relay.lock import LockError, configured
from h2o_relay.settings import Settings

NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("H2O_VLLM_COMMAND", raising=False)
    monkeypatch.delenv("H2O_VLLM_PYTHON", raising=False)


@pytest.mark.parametrize("variable", ["H2O_VLLM_COMMAND", "H2O_VLLM_PYTHON"])
@pytest.mark.parametrize(
    "settings", [Settings(base_model=NAME), Settings(model_lock=str([{"base_model": NAME}]))]
)
def test_vllm_runs_it(monkeypatch: pytest.MonkeyPatch, variable: str, settings: Settings) -> None:
    monkeypatch.setenv(variable, "/venv/bin/program")
    [spec] = configured(settings).specs
    assert spec.server == f"vllm_chat:local:{NAME}"


def test_llama_cpp_runs_files_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("H2O_VLLM_COMMAND", "/venv/bin/vllm")
    [spec] = configured(Settings(base_model="/models/a.gguf")).specs
    assert spec.server == "llama_cpp:/models/a.gguf"


def test_a_server_that_is_named_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("H2O_VLLM_COMMAND", "/venv/bin/vllm")
    [spec] = configured(Settings(base_model=NAME, inference_server="vllm:host:8000")).specs
    assert (spec.server, spec.base_model) == ("vllm:host:8000", NAME)


@pytest.mark.parametrize("value", [None, ""])
def test_without_one_both_ways_are_named(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is not None:
        monkeypatch.setenv("H2O_VLLM_COMMAND", value)
    with pytest.raises(LockError) as caught:
        configured(Settings(base_model=NAME))
    assert f"nothing here can run '{NAME}'" in str(caught.value)
    assert "no vLLM engine is configured" in str(caught.value)
    assert caught.value.hint == (
        "say which server has it (--inference-server=vllm_chat:host:8000), or set "
        "H2O_VLLM_COMMAND=/path/to/venv/bin/vllm"
    )
