"""What h2oGPT's callers send, read."""

from __future__ import annotations

import time
from typing import Any

import pytest

from h2o_relay.errors import InvalidRequest
from h2o_relay_ui.h2ogpt.literal import BARE_LIMIT, SIZE_LIMIT, read
from h2o_relay_ui.h2ogpt.order import argument, order, wanted


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def params(**asked: Any) -> dict[str, Any]:
    return dict(order({"instruction_nochat": "Hi", **asked}).params)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{'a': 'it\\'s [not] f\"x\"', 'b': (1, -2.5, None, True)}",
         {"a": "it's [not] f\"x\"", "b": (1, -2.5, None, True)}),
        (' {"a": true, "b": null} ', {"a": True, "b": None}),
        ("{'a': '''it's\n[here]''', 'b': \"\"\"say \"x\" \"\"\"}",
         {"a": "it's\n[here]", "b": 'say "x" '}),
        ("{'a': 'c:\\dir'}", {"a": "c:\\dir"}),
        (repr({"a": "x" * 10**6}), {"a": "x" * 10**6}),
        (repr({"p": [("[" * 50, "f'{1}'")] * 9000}), {"p": [("[" * 50, "f'{1}'")] * 9000}),
    ],
)  # fmt: skip
def test_literals_and_json_are_read(text: str, value: Any) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "nothing", "{'a': f'{[1, 2]}'}", "{'a': 1 # it's\n}", "{'a': __import__('os')}",
        "{'a': nan}", "[" * 5000, "-" * 100_000 + "1", "1+" * 50_000 + "1", "{'a': '\x00",
        "'" + "\\'" * 10**6, "{{}: 1}", "9" * 5000,
    ],
)  # fmt: skip
def test_programs_and_nonsense_are_refused_at_once(text: str) -> None:
    start = time.process_time()
    with pytest.raises(InvalidRequest, match="neither a Python literal nor JSON"):
        read(text)
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("'" + "x" * SIZE_LIMIT + "'", f"longer than {SIZE_LIMIT}"),
        ("[" + "1," * BARE_LIMIT + "]", "outside quotes"),
        ("['''a'b'''," + "1," * BARE_LIMIT + "'']", "outside quotes"),
    ],
)
def test_what_would_take_much_memory_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        read(text)


@pytest.mark.parametrize("given", ["[1]", "'text'", "{1: 2}", None, ["x"], 3])
def test_an_argument_is_a_dict(given: Any) -> None:
    with pytest.raises(InvalidRequest, match="not a dict of names"):
        argument(given)


def test_a_dict_may_come_as_it_is() -> None:
    assert argument({"instruction": "x"}) == {"instruction": "x"}
    assert argument("{'instruction': 'x'}") == {"instruction": "x"}


def test_the_conversation_becomes_messages() -> None:
    asked = params(
        system_prompt="Be brief.",
        chat_conversation=[("a", "b"), (None, "c"), ["d", None]],
        context="Known: x",
        iinput_nochat="the input",
    )
    assert asked["messages"] == [
        {"role": "system", "content": "Be brief."},
        user("a"),
        {"role": "assistant", "content": "b\n\nc"},
        user("d\n\nKnown: x\nHi\nthe input"),
    ]


@pytest.mark.parametrize(
    ("asked", "messages"),
    [
        ({"instruction_nochat": "", "instruction": "a", "iinput": "b"}, [user("a\nb")]),
        ({"system_prompt": "auto"}, [user("Hi")]),
        ({"system_prompt": None, "chat_conversation": None}, [user("Hi")]),
        ({"chat_conversation": "[('a', 'b')]"},
         [user("a"), {"role": "assistant", "content": "b"}, user("Hi")]),
        ({"chat_conversation": [("a", "b")], "add_chat_history_to_context": False}, [user("Hi")]),
    ],
)  # fmt: skip
def test_ways_to_say_the_same(asked: dict[str, Any], messages: list[Any]) -> None:
    assert params(**asked)["messages"] == messages


def test_fields_get_openais_names() -> None:
    asked = params(
        temperature=0.5, top_p=0.9, top_k=40.0, seed=7, max_new_tokens=12, repetition_penalty=1.1,
        stop=["x"], prompt_type="plain", do_sample=True, penalty_alpha=0.0, num_beams=1,
    )  # fmt: skip
    del asked["messages"]
    assert asked == {
        "temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 7, "max_tokens": 12,
        "repetition_penalty": 1.1, "stop": ["x"], "prompt_type": "plain",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ({}, {}),
        ({"temperature": None, "prompt_type": "", "repetition_penalty": 1.0}, {}),
        ({"do_sample": False, "temperature": 0.7, "top_p": 0.5}, {"temperature": 0}),
    ],
)
def test_what_asks_for_nothing_is_left_out(asked: dict[str, Any], left: dict[str, Any]) -> None:
    found = params(**asked)
    assert found.pop("messages") == [user("Hi")]
    assert found == left


def test_what_means_nothing_here_is_named() -> None:
    asked = {"instruction": "x", "langchain_mode": "LLM", "foo": 1, "top_k_docs": 3, "bar": None}
    assert order(asked).ignored == ("foo", "top_k_docs")
    assert order({**asked, "langchain_mode": "UserData"}).ignored[0] == "langchain_mode"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"temperature": "hot"}, "'temperature' must be a number"),
        ({"temperature": True}, "'temperature' must be a number"),
        ({"top_p": float("inf")}, "'top_p' must be a number"),
        ({"seed": 1.5}, "'seed' must be a whole number"),
        ({"seed": 2**80}, "JSON cannot carry"),
        ({"iinput": "\ud800"}, "JSON cannot carry"),
        ({"stop": b"x"}, "JSON cannot carry"),
        ({"instruction_nochat": ["x"]}, "'instruction_nochat' must be a text"),
        ({"chat_conversation": 5}, "a list of pairs of texts"),
        ({"chat_conversation": ["ab"]}, "a list of pairs of texts"),
        ({"chat_conversation": [("a", 1)]}, "a list of pairs of texts"),
        ({"text_context_list": ["page"]}, "'text_context_list' is not served"),
        ({"image_file": "x.png"}, "'image_file' is not served"),
        ({"model_lock": [{}]}, "'model_lock' is not served"),
        ({"langchain_action": "Summarize"}, "only the langchain_action 'Query'"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        params(**asked)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("m", "m"), (1, 1), ("1", "1"), (["m", "n"], "m"), ([2], 2), ("['m']", "m"), ("[1]", 1),
        (None, None), ("", None), ("None", None), ([], None), ("[]", None),
    ],
)  # fmt: skip
def test_a_model_is_wanted_in_many_ways(value: Any, found: Any) -> None:
    assert wanted({"visible_models": value}) == found


@pytest.mark.parametrize("value", [True, 1.5, {"a": 1}, [["m"]]])
def test_a_model_is_a_name_or_a_number(value: Any) -> None:
    with pytest.raises(InvalidRequest, match="visible_models"):
        wanted({"visible_models": value})
