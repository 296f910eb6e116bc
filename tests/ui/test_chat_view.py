"""What surrounds the thread: models, the context's meter, the lines."""

from __future__ import annotations

import re
from typing import Any

import pytest

from h2o_relay_ui import chat_view, thread
from h2o_relay_ui.chat_view import Fill
from h2o_relay_ui.conversation import content_of

from .fakes import view

VIEWS = [
    view("up"), view("down", state="offline", stage="offline"),
    view("new", state="unknown", stage="opening"), view("off", state="offline", stage="mismatch"),
    view("hidden", visible=False), view("", state="unknown", stage="unidentified"),
]  # fmt: skip


def test_models_that_cannot_answer_are_named_with_their_state_after_the_others() -> None:
    full, limited = view("full", state="busy"), view("calm", state="rate-limited")
    assert chat_view.choices([*VIEWS[1:4], limited, VIEWS[0], full], "up") == [
        ("up", "up"), ("full", "full"), ("down (offline)", "down"), ("new (starting)", "new"),
        ("off (model not there)", "off"), ("calm (rate limited)", "calm"),
    ]  # fmt: skip


def test_the_chosen_model_stays_in_the_list() -> None:
    assert chat_view.choices(VIEWS, "hidden")[-1] == ("hidden", "hidden")
    assert chat_view.choices(VIEWS, "gone")[-1] == ("gone (not there any more)", "gone")
    assert chat_view.choices([], None) == []


def test_a_name_that_is_up_somewhere_is_up() -> None:
    twice = [view("a", state="offline"), view("a"), view("a", state="offline", id="b")]
    assert chat_view.choices(twice, None) == [("a", "a")]


@pytest.mark.parametrize(
    ("wishes", "model"),
    [
        (("down",), "down"),
        (("gone", "new"), "new"),
        (("hidden",), "up"),
        ((None, ""), "up"),
        ((), "up"),
    ],
)
def test_the_first_model_is_the_wish_or_one_that_is_up(
    wishes: tuple[str | None, ...], model: str
) -> None:
    assert chat_view.first_choice(VIEWS, *wishes) == model


def test_without_one_that_is_up_the_first_is_chosen() -> None:
    assert chat_view.first_choice(VIEWS[1:]) == "down"
    assert chat_view.first_choice([*VIEWS[1:], view("full", state="busy")]) == "full"
    assert chat_view.first_choice([]) is None


def answered(**figures: Any) -> list[thread.Message]:
    usual: dict[str, Any] = {"first_token": 0.1, "seconds": 1.0, "tokens": 20, "prompt_tokens": 80}
    made = thread.figures(**{**usual, **figures})
    answer = {**thread.answer("m"), "content": "yes", "state": "done", "figures": made}
    return [thread.question("one"), answer]


def test_the_context_is_as_full_as_the_server_counted() -> None:
    assert chat_view.fill(answered(), view("m"), {}) == Fill(100, 8192, False, "")
    assert chat_view.fill(answered(estimated=True), view("m"), {}).estimated is True
    assert chat_view.fill(answered(), view("m", max_context=None), {}).limit is None
    assert chat_view.fill(answered(), None, {}).limit is None


def test_without_a_count_it_is_estimated() -> None:
    for messages in (answered(prompt_tokens=None), [*answered(), thread.question("word " * 100)]):
        now = chat_view.fill(messages, view("m"), {})
        assert now.estimated is True
        assert now.used > 0
    system = chat_view.fill([thread.question("a")], view("m"), {"system": "word " * 50}).used
    image = content_of("a", ["data:image/png;base64,AAAA"])
    pictured = chat_view.fill([thread.question(image)], view("m"), {}).used
    plain = chat_view.fill([thread.question("a")], view("m"), {}).used
    assert system > plain + 50
    assert pictured == plain + chat_view.IMAGE_TOKENS
    assert chat_view.fill([], view("m"), {}).used == 0


def test_a_limit_of_ones_own_counts_if_it_is_lower() -> None:
    assert chat_view.fill(answered(), view("m"), {"context": " 500 "}).limit == 500
    assert chat_view.fill(answered(), view("m"), {"context": "9000"}).limit == 8192
    assert chat_view.fill(answered(), view("m", max_context=None), {"context": "9"}).limit == 9
    assert chat_view.fill(answered(), view("m"), {"context": "many"}).limit == 8192


@pytest.mark.parametrize("typed", ["0", "00", "9" * 5000])
def test_a_limit_that_means_nothing_yet_breaks_no_page(typed: str) -> None:
    now = chat_view.fill(answered(), view("m"), {"context": typed})
    assert now.limit == 8192
    assert "of 8,192 tokens" in chat_view.meter(now)
    nobody_knows = chat_view.fill(answered(), view("m", max_context=0), {"context": typed})
    assert "Context: 100 tokens" in chat_view.meter(nobody_knows)


def test_what_was_left_out_is_told() -> None:
    messages = answered()
    messages[-1]["notes"] = ["2 older messages were left out", "temperature was ignored"]
    now = chat_view.fill(messages, view("m"), {})
    assert now.trimmed == "2 older messages were left out."
    assert "2 older messages were left out." in chat_view.meter(now)


@pytest.mark.parametrize(
    ("now", "line"),
    [
        (Fill(1234, 8192, False, ""), "Context: 1,234 of 8,192 tokens, 15%"),
        (Fill(1234, 8192, True, ""), "Context: about 1,234 of 8,192 tokens, 15%"),
        (Fill(1234, None, True, ""), "Context: about 1,234 tokens"),
        (Fill(9000, 8192, True, ""), "Context: about 9,000 of 8,192 tokens, 100%"),
    ],
)
def test_the_meter_has_a_bar_and_its_figures(now: Fill, line: str) -> None:
    shown = chat_view.meter(now)
    assert line in re.sub(r"<[^>]*>", "", shown)
    assert ("width: 15.1%" in shown) == (now.used == 1234 and now.limit is not None)
    assert ("full" in shown) == (now.used == 9000)


def test_an_empty_chat_has_no_meter() -> None:
    assert chat_view.meter(Fill(0, 8192, True, "")) == ""


def test_foreign_words_cannot_leave_their_place() -> None:
    assert chat_view.marker('"><script>') == (
        '<span data-conversation="&quot;&gt;&lt;script&gt;"></span>'
    )
    assert "<b>" not in chat_view.meter(Fill(1, 2, False, "<b>left out"))


def test_an_empty_thread_says_what_to_do() -> None:
    assert chat_view.empty("").startswith("### Ask anything")
    assert "it is down" in chat_view.empty("it is down")


def test_stored_options_are_read_whatever_they_are() -> None:
    assert chat_view.options_of({"options": {"seed": 7}}) == {"seed": "7"}
    for settings in (None, {}, {"options": None}, {"options": [1]}):
        assert chat_view.options_of(settings) == {}
