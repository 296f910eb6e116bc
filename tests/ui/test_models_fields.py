"""The form of the models tab: from what somebody typed to an entry of a model lock, and back."""

from __future__ import annotations

from dataclasses import astuple, fields

import pytest

from h2o_relay.lock import keys, tuning
from h2o_relay.settings import Settings
from h2o_relay_ui.models_fields import KEYS, FieldError, Fields, of_entry, prompt_types, tokens


def test_every_field_has_its_key() -> None:
    assert len(KEYS) == len(fields(Fields))
    assert set(KEYS) <= keys.known()


def test_an_entry_has_what_was_typed_and_nothing_else() -> None:
    typed = Fields.of(" mistral ", " vllm_chat:gpu:8000 ", "", "12,345", None, "")
    assert typed.entry() == {
        "base_model": "mistral", "inference_server": "vllm_chat:gpu:8000", "max_seq_len": 12345,
    }  # fmt: skip
    whole = Fields.of("m", "s", "llama2", "", "sk-1", "M").whole()
    assert whole == {
        "base_model": "m", "inference_server": "s", "prompt_type": "llama2", "max_seq_len": None,
        "h2ogpt_key": "sk-1", "display_name": "M",
    }  # fmt: skip


def test_the_kernel_reads_what_the_form_writes() -> None:
    entry = Fields.of("m", "vllm_chat:gpu:8000", "llama2", "4097", "sk-1", "M").entry()
    spec, idle = keys.spec(1, entry, tuning.of_settings(Settings()))
    assert idle == []
    assert (spec.tuning.max_seq_len, spec.tuning.prompt_type) == (4097, "llama2")
    assert (spec.base_model, spec.display_name, spec.key) == ("m", "M", "sk-1")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("", None), ("4096", 4096), ("4,096", 4096), ("131 072", 131072), ("1_048_576", 1048576),
     ("8000", 8000), ("1", 1)],
)  # fmt: skip
def test_a_context_length_is_taken_as_it_was_typed(typed: str, expected: int | None) -> None:
    assert tokens(typed) == expected


@pytest.mark.parametrize("typed", ["0", "-1", "8k", "4.096", "4,09", "4096 tokens", "٤", "9" * 13])
def test_what_is_no_context_length_is_refused(typed: str) -> None:
    with pytest.raises(FieldError, match="context length"):
        tokens(typed)


def test_one_of_server_and_model_is_needed() -> None:
    with pytest.raises(FieldError, match="which server"):
        Fields.of("", " ", None, "", "", "").entry()
    assert Fields.of("hf:o/r/f.gguf").entry() == {"base_model": "hf:o/r/f.gguf"}


def test_an_entry_fills_the_form_that_makes_it_again() -> None:
    entry = {"base_model": "m", "inference_server": "openai:***", "h2ogpt_key": "***",
             "max_seq_len": 512, "prompt_type": None, "temperature": 0.5}  # fmt: skip
    form = of_entry(entry)
    assert astuple(form) == ("m", "openai:***", "", "512", "***", "")
    assert form.masked
    assert form.whole()["max_seq_len"] == 512
    assert not Fields.of("m", "openai", "", "", "sk-***x", "").masked


def test_prompt_types_begin_with_none_and_have_what_an_entry_says() -> None:
    usual = prompt_types()
    assert usual[0] == ("Automatic", "")
    assert ("llama2", "llama2") in usual
    assert "custom" not in dict(usual)
    assert prompt_types("custom")[1] == ("custom", "custom")
    assert len(prompt_types("llama2")) == len(usual)
