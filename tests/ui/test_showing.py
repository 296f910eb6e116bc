"""Messages as the Chatbot's rows."""

from __future__ import annotations

import re
from typing import Any

import pytest

from h2o_relay_ui import thread
from h2o_relay_ui.conversation import content_of
from h2o_relay_ui.hints import AGAIN, CHANGE, HINTS, hint
from h2o_relay_ui.showing import RETRY, places, rows, shown, tokens_per_second

PNG = "data:image/png;base64,AAAA"


def answered(text: str = "uno", **changes: Any) -> thread.Message:
    figures = thread.figures(0.25, 2.25, 85, 7)
    usual = {"content": text, "state": "done", "finish_reason": "stop", "figures": figures}
    return {**thread.answer("parrot", "vllm:gpu1"), **usual, **changes}


def texts(message: thread.Message) -> list[str]:
    parts = [part for row in rows(message) for part in row["content"]]
    return [part.get("text", part["type"]).replace("\\", "") for part in parts]


def test_a_question_is_its_images_and_its_text() -> None:
    [row] = rows(thread.question(content_of("see", [PNG])))
    assert row["role"] == "user"
    image, text = row["content"]
    assert (image["component"], image["value"]) == ("image", {"url": PNG})
    assert text == {"type": "text", "text": "see"}
    assert texts(thread.question("    x = 1")) == ["    x = 1"]


def test_an_answer_ends_with_a_quiet_line_of_figures() -> None:
    message = answered(notes=["2 older messages were left out", "temperature was ignored"])
    said, line = texts(message)
    assert said == "uno"
    assert line.removeprefix("<small>").removesuffix("</small>").split("<br>") == [
        "parrot · vllm:gpu1 · 0.2 s to first token · 42 tokens/s · 85 tokens",
        "2 older messages were left out. Temperature was ignored.",
    ]


def test_what_was_estimated_is_marked() -> None:
    figures = thread.figures(0.02, 10.02, 11, None, estimated=True)
    line = texts(answered(figures=figures))[-1]
    assert "under 0.1 s to first token · about 1.0 tokens/s · about 11 tokens" in line


def test_figures_that_nobody_knows_are_left_out() -> None:
    message = answered(figures=thread.figures(), server="")
    assert texts(message)[-1] == "<small>parrot</small>"


@pytest.mark.parametrize(
    ("figures", "rate"),
    [
        (thread.figures(1.0, 3.0, 101), 50.0),
        (thread.figures(2.0, 2.0, 10), 5.0),  # all at once: over the whole time
        (thread.figures(0.01, 0.01, 10), None),
        (thread.figures(None, 3.0, 10), None),
        (thread.figures(1.0, 3.0, None), None),
    ],
)
def test_the_rate_is_that_after_the_first_token(figures: Any, rate: float | None) -> None:
    assert tokens_per_second(figures) == rate


def test_reasoning_is_folded_once_the_answer_comes() -> None:
    growing = answered("", reasoning="hm", state="running")
    [row] = rows(growing)
    assert row["metadata"] == {"title": "Thinking", "status": "pending"}
    thought, *_ = rows({**growing, "content": "yes"})
    assert thought["metadata"] == {"title": "Reasoning", "status": "done"}


def test_an_answer_that_is_waited_for_says_so_and_nothing_else() -> None:
    assert texts(answered("", state="running")) == ["<small><em>Waiting for parrot …</em></small>"]
    assert texts(answered("so far", state="running")) == ["so far"]


def test_a_failure_says_what_and_what_to_try_and_offers_to_retry() -> None:
    error = {"message": "cannot connect", "code": "upstream_unreachable", "status": 502}
    message = answered("", state="failed", error=error, figures=thread.figures())
    problem, figures = rows(message)
    text = problem["content"][0]["text"].replace("\\", "")
    assert text.startswith("**⚠ No answer.** cannot connect\n\nCheck that the server is running")
    assert figures["options"] == [{"label": RETRY, "value": RETRY}]
    assert texts(message)[-1] == "<small>parrot · vllm:gpu1</small>"
    assert texts({**message, "content": "half"})[1].startswith("**⚠ The answer broke off.**")


def test_a_stopped_answer_says_so_even_without_a_word() -> None:
    assert texts(answered("", state="stopped", figures=thread.figures())) == [
        "<small>stopped · parrot · vllm:gpu1</small>"
    ]


def test_foreign_words_are_shown_and_not_obeyed() -> None:
    evil = "![x](http://e.example) <b>*_`$"
    error = {"message": evil, "code": "x", "status": 502}
    message = answered("", state="failed", error=error, model=evil, server=evil, notes=[evil])
    for row in rows(message):
        text = row["content"][0]["text"]
        for ours in ("**⚠ No answer.**", "<small>", "</small>", "<br>"):
            text = text.replace(ours, "")
        assert not re.search(r"(?<!\\)[<!\[*_`$]", text)


def test_formulas_are_drawn_in_answers_only() -> None:
    assert texts(answered("$x^2$"))[0] == "(x^2)"
    assert texts(thread.question("$x^2$")) == ["$x^2$"]


def test_each_row_has_its_message() -> None:
    talk = [
        thread.question("one"), answered(reasoning="hm"), thread.question("two"),
        answered("", state="running"),
    ]  # fmt: skip
    assert places(talk) == [0, 1, 1, 1, 2, 3]
    assert len(shown(talk)) == 6


def test_every_hint_is_a_sentence() -> None:
    assert all(text.endswith(".") and text[0].isupper() for text in HINTS.values())
    assert hint("upstream_bad_response", 502) == AGAIN
    assert hint(None, None) == AGAIN
    assert hint("invalid_value", 400) == CHANGE
