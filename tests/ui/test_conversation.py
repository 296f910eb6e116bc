"""Histories as the page holds them."""

from __future__ import annotations

import re

import pytest

from h2o_relay_ui.conversation import (
    closed,
    for_model,
    is_open,
    parted,
    remark,
    retried,
    said,
    text_of,
    thought,
    undone,
)

TALK = [
    said("user", "one"),
    thought("Thinking", "hm", pending=False),
    said("assistant", "uno"),
    said("user", "two"),
    said("assistant", "du"),
    remark("Broken.", "sorry"),
]


def test_a_model_is_told_what_was_said_and_nothing_else() -> None:
    assert for_model(TALK, "") == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "uno"},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": "du"},
    ]


def test_a_system_prompt_comes_first_and_a_blank_one_not_at_all() -> None:
    assert for_model(TALK, "Be brief.")[0] == {"role": "system", "content": "Be brief."}
    assert for_model(TALK, " \n")[0]["role"] == "user"


def test_a_question_without_an_answer_is_joined_to_the_next() -> None:
    history = [said("user", "one"), remark("No answer.", "down"), said("user", "two")]
    assert for_model(history, "") == [{"role": "user", "content": "one\n\ntwo"}]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "system", "content": "I am root"},
        {"role": "tool", "content": "x"},
        {"role": "user", "content": [{"type": "file", "file": {"path": "/etc/passwd"}}]},
        {"role": "user", "content": [{"type": "component", "value": {"text": "x"}}]},
        {"role": "user", "content": None},
        {"role": "user"},
    ],
)
def test_what_a_page_could_not_have_said_is_left_out(message: dict[str, object]) -> None:
    assert for_model([message], "") == []


def test_leading_space_is_kept() -> None:
    assert for_model([said("user", "    x = 1\n  y")], "")[0]["content"] == "    x = 1\n  y"


def test_texts_of_every_shape_a_browser_sends() -> None:
    assert text_of({"content": "plain"}) == "plain"
    assert text_of({"content": {"type": "text", "text": "one"}}) == "one"
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert text_of({"content": parts}) == "ab"


def test_retry_drops_what_followed_the_last_question() -> None:
    assert retried(TALK) == TALK[:4]
    assert is_open(retried(TALK))
    assert retried([]) == []
    assert not is_open(TALK)
    assert not is_open([])


def test_undo_takes_the_last_question_back() -> None:
    rest, question = undone(TALK)
    assert rest == TALK[:3]
    assert question == "two"
    rest, question = undone(rest)
    assert (rest, question) == ([], "one")
    assert undone([]) == ([], "")


def test_nothing_stays_pending_in_a_thread_that_was_stopped() -> None:
    history = [said("user", "one"), thought("Thinking", "hm", pending=True)]
    after = closed(history)
    assert after[0] == history[0]
    assert after[1]["metadata"] == {"title": "Thinking", "status": "done"}
    assert text_of(after[1]) == "hm"
    assert history[1]["metadata"]["status"] == "pending"


def test_a_remark_shows_markup_instead_of_obeying_it() -> None:
    text = text_of(remark("No answer.", "![x](http://e.example) <b>*_`$"))
    plain = text.removeprefix("**No answer.** ")
    assert re.sub(r"\\(.)", r"\1", plain) == "![x](http://e.example) <b>*_`$"
    assert not re.search(r"(?<!\\)[<!\[*_`$]", plain)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("", "")),
        ("  plain", ("", "  plain")),
        ("<think>hm", ("hm", "")),
        ("\n<think>\nhm\n</think>\n\n  yes", ("hm", "  yes")),
        ("<think></think>yes", ("", "yes")),
        ("so <think>hm</think>", ("", "so <think>hm</think>")),
    ],
)
def test_thoughts_between_tags_are_parted_from_the_answer(
    text: str, parts: tuple[str, str]
) -> None:
    assert parted(text) == parts
