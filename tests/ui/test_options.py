"""What the side panel's fields mean."""

from __future__ import annotations

import pytest

from h2o_relay.errors import InvalidRequest
from h2o_relay_ui.options import FIELDS, LARGEST_SEED, read, texts_of, values_of


def test_empty_fields_are_left_to_the_model() -> None:
    assert read({}) == read({field.name: "  \n" for field in FIELDS}) == {}
    assert texts_of((None, "", " ", "", "", "", "")) == {}


def test_every_field_is_read() -> None:
    texts = {
        "system": " Be brief. ", "temperature": "0,7", "top_p": "1", "max_tokens": " 12 ",
        "seed": "-1", "stop": "END\n\n\\n\\nUser:", "context": "2048",
    }  # fmt: skip
    assert read(texts) == {
        "system": " Be brief. ", "temperature": 0.7, "top_p": 1.0, "max_tokens": 12, "seed": -1,
        "stop": ["END", "\n\nUser:"], "context": 2048,
    }  # fmt: skip


def test_zero_is_a_value() -> None:
    assert read({"temperature": "0", "seed": "0"}) == {"temperature": 0.0, "seed": 0}


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("temperature", "hot", "Temperature is 'hot', which is not a number."),
        ("temperature", "nan", "Temperature must be finite."),
        ("temperature", "-1", "Temperature must be 0 or more."),
        ("temperature", "5.1", "Temperature must be 5 or less."),
        ("top_p", "1.01", "Top p must be 1 or less."),
        ("max_tokens", "1.5", "Max tokens is '1.5', which is not a whole number."),
        ("max_tokens", "0", "Max tokens must be 1 or more."),
        ("max_tokens", "9" * 5000, f"Max tokens is '{'9' * 40}', which is not a whole number."),
        ("seed", str(LARGEST_SEED + 1), "Seed must be"),
        ("context", "63", "Context length must be 64 or more."),
        ("context", "9" * 30, "Context length must be 1,000,000,000 or less."),
        ("max_tokens", "9" * 30, "Max tokens must be 1,000,000,000 or less."),
        ("stop", "a\n" * 17, "Stop has 17 lines. 16 are allowed."),
    ],
)
def test_a_field_that_cannot_be_used_is_named(name: str, text: str, line: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read({name: text})
    assert caught.value.message.startswith(line)


def test_texts_are_kept_as_they_were_typed() -> None:
    values = ("Be brief.", "0,7", None, " ", "", "a\nb", "")
    texts = texts_of(values)
    assert texts == {"system": "Be brief.", "temperature": "0,7", "stop": "a\nb"}
    assert values_of(texts) == ["Be brief.", "0,7", "", "", "", "a\nb", ""]
    assert values_of(None) == values_of({"other": 1}) == [""] * len(FIELDS)


def test_every_field_has_its_line_of_help_and_its_place() -> None:
    assert all(field.help.endswith(".") for field in FIELDS)
    ids = [field.elem_id for field in FIELDS]
    assert ids[2] == "chat-option-top-p"
    assert len(set(ids)) == len(ids)
