"""Prompt types by name, number and model, and custom ones."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2o_relay.errors import InvalidRequest
from h2o_relay.prompts.catalog import (
    by_name_or_number,
    for_model,
    get,
    models,
    names,
    resolve,
)
from h2o_relay.prompts.prompt_dict import KEYS, custom
from h2o_relay.prompts.render import render

SEED = (
    "{'promptA': '<human>: ', 'promptB': '<human>: ', 'PreInstruct': '', 'PreInput': None, "
    "'PreResponse': '<bot>:', 'terminate_response': ['<human>:', '<bot>:'], 'chat_sep': '\\n', "
    "'humanstr': '<human>:', 'botstr': '<bot>:'}"
)


def test_every_type_of_the_reference_is_there() -> None:
    assert len(names()) == 76
    assert [by_name_or_number(name).number for name in names()] == list(range(-3, 73))
    assert names()[:4] == ("template", "unknown", "custom", "plain")
    assert names()[-1] == "idefics2"


@pytest.mark.parametrize("given", ["llama2", "LLAMA2", " llama2 ", 29, "29"])
def test_by_name_or_number(given: str | int) -> None:
    assert by_name_or_number(given).name == "llama2"


def test_numbers_below_zero() -> None:
    assert by_name_or_number("-2").name == "unknown"
    assert by_name_or_number(-3).name == "template"


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("lama2", "Did you mean llama2"),
        ("human-bot", "Did you mean human_bot"),
        (99, "There is no prompt type 99"),
        (True, "There is no prompt type True"),
        ("", "There is no prompt type ''"),
    ],
)
def test_names_that_are_none(given: Any, hint: str) -> None:
    with pytest.raises(InvalidRequest, match=hint) as caught:
        get(given)
    assert caught.value.param == "prompt_type"


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("openchat/openchat_3.5", "open_chat_correct"),  # in two lists: the later one wins
        ("HuggingFaceH4/zephyr-7b-beta", "zephyr"),
        ("huggingfaceh4/ZEPHYR-7B-beta\n", "zephyr"),
        ("google/gemma-7b-it", "gemma"),
        ("gemma-7b-it", "groq"),
        ("google/gemma-7b-it-x", "unknown"),
        ("", "unknown"),
    ],
)
def test_models_by_their_whole_name(model: str, kind: str) -> None:
    assert for_model(model) == kind


def test_models_by_their_file() -> None:
    url = "https://huggingface.co/TheBloke/zephyr-7B-beta-GGUF/resolve/main/some.gguf"
    assert for_model("llama", url) == "zephyr"
    assert for_model("llama", "/models/zephyr-7b-beta.Q5_K_M.gguf?download=true") == "zephyr"
    assert for_model("meta-llama/Llama-2-7b-chat-hf", "/models/other.gguf") == "llama2"


def test_the_table_is_whole() -> None:
    assert len(models()) == 281
    assert all(name == name.strip().lower() for name in models())
    assert set(models().values()) <= set(names())


def test_who_decides_on_the_type() -> None:
    model = "HuggingFaceH4/zephyr-7b-beta"
    assert resolve(model, asked="llama2", configured="gemma").name == "llama2"
    assert resolve(model, asked="", configured="gemma").name == "gemma"
    assert resolve(model, asked=None, configured="None").name == "zephyr"
    assert resolve(model, asked=0).name == "plain"
    assert resolve("nobody/knows").name == "openai"
    assert resolve("nobody/knows", has_template=True).name == "unknown"
    assert resolve("gpt2", has_template=True).name == "plain"
    assert resolve("x", configured="custom", prompt_dict=SEED).pre_response == "<bot>:"


def test_a_prompt_dict_in_all_its_forms() -> None:
    as_json = '{"PreInstruct": "Q: ", "PreResponse": "A:", "terminate_response": ["Q:"]}'
    as_python = "{'PreInstruct': 'Q: ', 'PreResponse': 'A:', 'terminate_response': ('Q:',)}"
    as_dict = {"PreInstruct": "Q: ", "PreResponse": "A:", "terminate_response": ["Q:"]}
    kinds = [custom(value) for value in (as_json, as_python, as_dict)]
    assert kinds[0] == kinds[1] == kinds[2]
    messages = [{"role": "user", "content": "x"}]
    done = render("custom", messages, prompt_dict=as_json)
    assert (done.prompt, done.stops) == ("Q: x\nA:", ("Q:", "A:"))


def test_what_a_prompt_dict_leaves_out() -> None:
    kind = custom({"PreResponse": ">"})
    assert (kind.chat_sep, kind.chat_turn_sep, kind.pre_instruct) == ("\n", "\n", "")
    assert (kind.terminate_response, kind.takes_system) == ((), False)
    assert kind.preamble_each_turn


def test_every_type_can_be_written_as_a_prompt_dict() -> None:
    for name in names():
        given = by_name_or_number(name).as_prompt_dict()
        assert set(given) <= set(KEYS)
        if not given.pop("can_handle_system_prompt"):
            again = custom(given).as_prompt_dict()
            assert {key: again[key] for key in given} == given


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (None, "needs a prompt_dict"),
        ("", "needs a prompt_dict"),
        ("None", "needs a prompt_dict"),
        ({}, "needs a prompt_dict"),
        ("[1]", "must be an object"),
        ("{'a'", "neither JSON nor a Python literal"),
        ("__import__('os').getcwd()", "neither JSON nor a Python literal"),
        ("(" * 50_000, "neither JSON nor a Python literal"),
        (" " * 65_537, "at most 65536 characters"),
        ({"PreRespond": "x"}, "Did you mean PreResponse"),
        ({"PreResponse": 3}, "PreResponse of a prompt_dict must be a string"),
        ({"terminate_response": "x"}, "must be an array of strings"),
        ({"terminate_response": [""]}, "strings that are not empty"),
        ({"generates_leading_space": 1}, "must be true or false"),
        ({"can_handle_system_prompt": True}, "leave out can_handle_system_prompt"),
        ({"system_prompt": "S"}, "leave out can_handle_system_prompt"),
    ],
)
def test_prompt_dicts_that_cannot_be_used(given: Any, hint: str) -> None:
    with pytest.raises(InvalidRequest, match=hint) as caught:
        get("custom", given)
    assert caught.value.param == "prompt_dict"


def outcome(given: Any) -> str | None:
    """What came of a prompt_dict: the type's class, or the parameter that is wrong."""
    try:
        done = render("custom", [{"role": "user", "content": "x"}], prompt_dict=given)
    except InvalidRequest as error:
        return error.param
    return type(done.prompt_type).__name__


@given(st.text())
def test_any_text_is_a_prompt_dict_or_a_clear_error(text: str) -> None:
    assert outcome(text) in ("PromptType", "prompt_dict")


@given(
    st.dictionaries(
        st.sampled_from(KEYS) | st.text(max_size=5),
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.text()),
    )
)
def test_any_mapping_is_a_prompt_dict_or_a_clear_error(given: dict[str, Any]) -> None:
    assert outcome(given) in ("PromptType", "prompt_dict")
