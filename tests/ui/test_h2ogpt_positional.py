"""h2oGPT's calls whose values have no names."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from h2o_relay.errors import InvalidRequest
from h2o_relay_ui.h2ogpt.positional import (
    ABSENT,
    ALIKE,
    EARLIER,
    LOAD,
    LOGIN,
    MORE,
    NAMES,
    credentials,
    declared,
    named,
    submitted,
)

PLACES = len(NAMES) + 1


def sent(*given: Any, **by_name: Any) -> list[Any]:
    """The values as Gradio's clients send them: what is left out is marked."""
    values = [*given, *[ABSENT] * (PLACES - len(given))]
    for name, value in by_name.items():
        values[NAMES.index(name)] = value
    return values


def test_the_orders_are_h2ogpts() -> None:
    assert (len(NAMES), len(EARLIER), len(set(NAMES))) == (82, 68, 82)
    assert NAMES[:6] == (
        "instruction", "iinput", "context", "stream_output", "prompt_type", "prompt_dict"
    )  # fmt: skip
    assert NAMES[:ALIKE] == EARLIER[:ALIKE]
    assert (NAMES[ALIKE], EARLIER[ALIKE]) == ("seed", "chat")
    assert NAMES.index("instruction_nochat") == EARLIER.index("instruction_nochat") + 1 == 20
    assert (EARLIER[-1], NAMES[-1]) == ("image_control", "guided_whitespace_pattern")
    assert MORE not in NAMES


@pytest.mark.parametrize("order", [NAMES, EARLIER], ids=["82", "68"])
def test_all_values_are_read_in_their_order(order: tuple[str, ...]) -> None:
    asked = submitted(sent(*(f"<{name}>" for name in order)))
    assert asked == {name: f"<{name}>" for name in order}


@pytest.mark.parametrize("order", [NAMES, EARLIER], ids=["82", "68"])
def test_none_is_the_servers_default(order: tuple[str, ...]) -> None:
    values = [None] * len(order)
    values[order.index("instruction_nochat")] = "hi"
    values[order.index("temperature")] = 0
    assert submitted(sent(*values)) == {"instruction_nochat": "hi", "temperature": 0}


def test_values_by_name() -> None:
    asked = submitted(sent(instruction_nochat="hi", h2ogpt_key="k", guided_json="{}"))
    assert asked == {"instruction_nochat": "hi", "h2ogpt_key": "k", "guided_json": "{}"}
    assert submitted(sent("hi", seed=5)) == {"instruction": "hi", "seed": 5}


def test_the_first_ones_are_the_same_in_both() -> None:
    assert submitted(sent("hi")) == {"instruction": "hi"}
    assert submitted(sent()) == {}
    assert submitted(sent(*range(ALIKE))) == dict(zip(NAMES, range(ALIKE), strict=False))


@pytest.mark.parametrize("count", [ALIKE + 1, 40, 67, 69, 81, 83])
def test_another_number_of_values_is_refused(count: int) -> None:
    with pytest.raises(InvalidRequest, match="/submit_nochat_api") as caught:
        submitted(sent(*["x"] * count))
    assert "68 or 82 values" in caught.value.message
    assert f"got {'82 or more' if count == 83 else count}" in caught.value.message


FORMS = {
    "in March 2024": [None, "ann", "pw", None, None],
    "then, with histories": [None, "ann", "pw", [["q", "a"]], [], None],
    "later": ["LLM", "key", [], *["on"] * 14, "ann", "pw", None, None],
    "later, with a model": ["LLM", "key", "llama", *["on"] * 14, "ann", "pw", None],
    "by name": named(LOGIN, []) or [ABSENT] * 17 + ["ann", "pw"],
}


@pytest.mark.parametrize("form", FORMS)
def test_name_and_password(form: str) -> None:
    values = [*FORMS[form], *[ABSENT] * len(LOGIN)][: len(LOGIN)]
    assert credentials(values) == ("ann", "pw")


@pytest.mark.parametrize("values", [[ABSENT] * 19, [None] * 19, [5] * 19, [[]] * 19])
def test_no_name_and_no_password(values: list[Any]) -> None:
    assert credentials(values) == ("", "")


def test_a_function_looks_as_if_it_had_the_names() -> None:
    def act(*given: Any) -> str:
        return " ".join(given)

    shown = declared(act, LOAD)
    parameters = inspect.signature(shown).parameters
    assert tuple(parameters) == LOAD
    assert {p.default for p in parameters.values()} == {ABSENT}
    assert inspect.signature(shown).return_annotation is str
    assert shown("a", "b") == "a b"
